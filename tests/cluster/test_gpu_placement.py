"""The example for GPUs on a real Ray cluster whose nodes only claim to have some."""

import json
import subprocess
import sys

from tests.cluster.processes import descendants, kill, left_over
from tests.cluster.settings import ROOT, cluster_environment, short_folder

EXAMPLE = ROOT / "examples/disaggregated-gpu.yaml"
TIMEOUT_S = 150


def test_prefill_spreads_over_spot_nodes_and_decode_is_on_one_on_demand(orphans: None) -> None:
    before = descendants()
    with short_folder() as folder:
        try:
            nodes = subprocess.run(
                [sys.executable, "-m", "tests.cluster.gpu_nodes", str(EXAMPLE)],
                check=False,
                capture_output=True,
                cwd=ROOT,
                env=cluster_environment(folder),
                text=True,
                timeout=TIMEOUT_S,
            )
        finally:
            left = left_over(before, 15)
            kill(left)
    assert nodes.returncode == 0, nodes.stderr[-6000:]
    assert not left, f"processes left behind: {left}"
    placed = json.loads(nodes.stdout.splitlines()[-1])

    replica, *stages = placed["private-70b--prefill--spot"]
    assert replica in (["spot-1", 0], ["spot-2", 0])
    # vLLM has the first stage run where the replica is, so it must find a GPU there.
    assert stages[0] == [replica[0], 1]
    assert sorted(stages) == [["spot-1", 1], ["spot-1", 1], ["spot-2", 1], ["spot-2", 1]]
    assert placed["private-70b--decode--on-demand"] == [["on-demand", 4]]
