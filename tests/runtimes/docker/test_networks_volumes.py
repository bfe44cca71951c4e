"""Networks and volumes: made once, kept apart from what is not ours, never lost by accident."""

from __future__ import annotations

import secrets
from dataclasses import replace

import pytest

from algaenv.model.kind import Address
from algaenv.model.problem import Conflict
from algaenv.model.resource import Absent, Present
from algaenv.runtimes.docker.specs import NetworkSpec, VolumeSpec
from tests.runtimes.docker.conftest import QUIET, Bench, seen_as

pytestmark = pytest.mark.docker


def test_a_network_is_made_once_and_removed_once(bench: Bench) -> None:
    network = bench.wanted("network/main")
    bench.networks.create(network, QUIET)
    first = bench.seen(network)
    bench.networks.create(network, QUIET)
    assert bench.seen(network) == first
    assert (first.recorded, first.drift) == (network.fingerprint, ())
    bench.networks.delete(network.address, first, QUIET)
    bench.networks.delete(network.address, first, QUIET)
    assert bench.observer.observe([network])[network.address] == Absent()


def test_a_network_in_use_is_not_removed(bench: Bench, strays: list[str]) -> None:
    network = bench.wanted("network/main")
    bench.networks.create(network, QUIET)
    name = f"stray-{secrets.token_hex(4)}"
    strays.append(name)
    bench.run_stray(name)
    assert isinstance(network.body, NetworkSpec)
    bench.engine.api.connect_container_to_network(name, network.body.name)
    with pytest.raises(Conflict) as caught:
        bench.networks.delete(network.address, bench.seen(network), QUIET)
    assert caught.value.problem.code == "network-in-use"
    assert name in caught.value.problem.summary
    bench.engine.api.remove_container(name, force=True)


def test_a_foreign_network_is_left_alone(bench: Bench) -> None:
    network = bench.wanted("network/main")
    assert isinstance(network.body, NetworkSpec)
    made = bench.engine.api.create_network(network.body.name)
    try:
        seen = bench.seen(network)
        assert seen.recorded is None
        with pytest.raises(Conflict) as caught:
            bench.networks.create(network, QUIET)
        assert caught.value.problem.code == "name-taken"
        with pytest.raises(Conflict) as caught:
            bench.networks.delete(network.address, seen, QUIET)
        assert caught.value.problem.code == "not-ours"
    finally:
        bench.engine.api.remove_network(made["Id"])


def test_a_volume_is_made_once_kept_and_removed_once(bench: Bench) -> None:
    volume = bench.wanted("volume/store")
    bench.volumes.create(volume, QUIET)
    bench.volumes.create(volume, QUIET)
    seen = bench.seen(volume)
    assert (seen.recorded, seen.retained, seen.running) == (volume.fingerprint, True, None)
    bench.volumes.delete(volume.address, seen, QUIET)
    bench.volumes.delete(volume.address, seen, QUIET)
    assert bench.observer.observe([volume])[volume.address] == Absent()


def test_a_volume_in_use_is_not_removed(bench: Bench, strays: list[str]) -> None:
    volume = bench.wanted("volume/store")
    bench.volumes.create(volume, QUIET)
    name = f"stray-{secrets.token_hex(4)}"
    strays.append(name)
    bench.run_stray(name, binds=[f"{bench.seen(volume).handle}:/x"])
    with pytest.raises(Conflict) as caught:
        bench.volumes.delete(volume.address, bench.seen(volume), QUIET)
    assert caught.value.problem.code == "volume-in-use"
    assert name in caught.value.problem.summary
    bench.engine.api.remove_container(name, force=True)


def test_a_foreign_volume_is_left_alone(bench: Bench) -> None:
    volume = bench.wanted("volume/store")
    assert isinstance(volume.body, VolumeSpec)
    bench.engine.api.create_volume(volume.body.name)
    try:
        seen = bench.seen(volume)
        assert seen.recorded is None
        with pytest.raises(Conflict) as caught:
            bench.volumes.create(volume, QUIET)
        assert caught.value.problem.code == "name-taken"
        with pytest.raises(Conflict) as caught:
            bench.volumes.delete(volume.address, seen, QUIET)
        assert caught.value.problem.code == "not-ours"
    finally:
        bench.engine.api.remove_volume(volume.body.name)


def test_data_of_an_earlier_engine_goes_by_its_own_name(bench: Bench) -> None:
    volume = bench.wanted("volume/store")
    assert isinstance(volume.body, VolumeSpec)
    earlier = replace(volume, body=VolumeSpec(f"{volume.body.name}-earlier"))
    bench.volumes.create(earlier, QUIET)
    bench.volumes.create(volume, QUIET)
    seen = bench.observer.observe([volume])
    assert seen_as(seen[volume.address]).handle == volume.body.name
    old = Address("volume", f"{volume.body.name}-earlier")
    assert seen_as(seen[old]).retained
    without_spec = bench.observer.observe([])
    assert {seen_as(one).handle for one in without_spec.values()} == {volume.body.name, old.name}
    for address, one in without_spec.items():
        bench.volumes.delete(address, seen_as(one), QUIET)
    assert not bench.observer.observe([])


def test_images_are_shared_and_kept(bench: Bench) -> None:
    image = bench.wanted("image/redis")
    bench.images.create(image, QUIET)
    seen = bench.seen(image)
    assert isinstance(seen, Present)
    assert (seen.recorded, seen.retained) == (image.fingerprint, True)
    bench.images.delete(image.address, seen, QUIET)
    assert bench.seen(image) == seen
    assert image.address not in bench.observer.observe([])
