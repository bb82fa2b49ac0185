"""The embedding benchmark, with few inputs."""

import json

import pytest

from benchmarks import embedding
from benchmarks._harness import run


@pytest.mark.slow
def test_requests_are_as_few_as_the_limits_allow(tmp_path):
    out = tmp_path / "out.json"
    argv = ["--json", str(out), "--texts", "30", "--images", "9", "--latency", "0.01"]
    assert (
        run("embedding", None, embedding.main, add_arguments=embedding.add_arguments, takes_data=False, argv=argv) == 0
    )
    metrics = json.loads(out.read_text())["metrics"]
    for name, minimum in (("multimodal.texts", 2), ("multimodal.images", 2), ("text", 3)):
        for way in ("sync", "async"):
            assert metrics[f"{name}.{way}.requests"] == metrics[f"{name}.{way}.minimum"] == minimum
            assert metrics[f"{name}.{way}.time_ratio"] >= 1
    assert metrics["peer.sync.requests"] == 3
    assert metrics["peer.async.requests"] == 30
    assert metrics["peer_default.failed"] == 30
