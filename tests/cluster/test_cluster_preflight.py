"""What the preflight says about machines that cannot carry the cluster."""

import dataclasses

import pytest

from cluster.preflight import Machine, problems

GOOD = Machine(
    system="linux",
    uid=0,
    go_version=(1, 26),
    free_gib=40.0,
    built=False,
    missing=("buildah",),
    can_install=True,
    filesystem="ext4",
    address_owner=None,
)


def test_a_fit_machine_has_no_problems():
    assert problems(GOOD) == []


@pytest.mark.parametrize(
    ("change", "names", "remedy"),
    [
        ({"system": "darwin"}, "needs Linux", "CLUSTER=current"),
        ({"uid": 1000}, "uid 1000", "sudo"),
        ({"go_version": None}, "Go is not on PATH", "Go 1.26"),
        ({"go_version": (1, 24)}, "Go 1.24 is too old", "Go 1.26"),
        ({"free_gib": 12.34}, "12.3 GiB of disk are free, 25 GiB", "XDG_CACHE_HOME"),
        ({"free_gib": 3.0, "built": True}, "5 GiB are needed", "XDG_CACHE_HOME"),
        ({"filesystem": "overlay"}, "overlay", "XDG_CACHE_HOME"),
        ({"can_install": False, "missing": ("buildah", "runc")}, "buildah, runc", "package manager"),
        ({"address_owner": "wg0"}, "wg0", "CLUSTER=current"),
    ],
)
def test_each_problem_names_what_is_missing_and_the_remedy(change, names, remedy):
    (problem,) = problems(dataclasses.replace(GOOD, **change))
    assert names in problem.what
    assert remedy in problem.remedy


def test_every_problem_is_told_at_once():
    assert len(problems(dataclasses.replace(GOOD, uid=1, go_version=None, free_gib=1.0))) == 3


def test_less_disk_is_enough_once_everything_is_built():
    assert problems(dataclasses.replace(GOOD, built=True, free_gib=6.0)) == []
