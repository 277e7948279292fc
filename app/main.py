"""The composition root: a configuration in, a Serve application out."""

from pathlib import Path
from typing import Any

from ray import serve

from app.config import Keys, parse_config
from deployments.classifier import classifier_application
from deployments.engine import engine_application
from deployments.forecaster import forecaster_application
from deployments.gateway import gateway_application
from deployments.keeper import keeper_application
from deployments.ledger import ledger_application
from deployments.node_watcher import watcher_application


def build(args: dict[str, Any]) -> serve.Application:
    """Builds the application from `args:` of serve_config.yaml.

    Raises:
        ConfigError: something in the configuration is wrong; all of it is named, with its path.
    """
    config = parse_config(args)
    # Actors may run in another directory than this process.
    here = Path.cwd()
    config = config.model_copy(
        update={"store": config.store.absolute(here), "weights": config.weights.absolute(here)}
    )
    classifier = classifier_application(config) if config.classifier.enabled else None
    # Without keys nobody's use is limited, so there is nothing to keep.
    shards = config.ledger.shards if config.access.keys is Keys.REQUIRED else 0
    ledgers = [ledger_application(config, shard) for shard in range(shards)]
    keeper = keeper_application(config, ledgers)
    forecaster = (
        forecaster_application(config, keeper, ledgers) if config.scaling.forecast.enabled else None
    )
    watcher = watcher_application(config, keeper)
    engines = {
        deployed.name: engine_application(config, deployed, keeper, watcher)
        for deployed in config.deployments()
    }
    return gateway_application(config, engines, keeper, forecaster, classifier, ledgers)
