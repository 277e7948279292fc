"""The composition root: a configuration in, a Serve application out."""

from typing import Any

from ray import serve

from app.config import parse_config
from deployments.classifier import classifier_application
from deployments.engine import engine_application
from deployments.gateway import gateway_application


def build(args: dict[str, Any]) -> serve.Application:
    """Builds the application from `args:` of serve_config.yaml.

    Raises:
        ConfigError: something in the configuration is wrong; all of it is named, with its path.
    """
    config = parse_config(args)
    engines = {
        deployed.name: engine_application(config, deployed) for deployed in config.deployments()
    }
    classifier = (
        classifier_application(config.classifier, tuple(config.zones))
        if config.classifier.enabled
        else None
    )
    return gateway_application(config, engines, classifier)
