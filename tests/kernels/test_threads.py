"""Work in torch's own threads: every part once, errors raised, and the same with a thread pool in their place."""

import os
import signal
import threading

import pytest
import torch

from snnlab.kernels import threads


@pytest.fixture(params=["torch's threads", "a pool"])
def runtime(request, monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    if request.param == "a pool":
        monkeypatch.setattr(threads, "openmp", lambda: None)
    elif threads.openmp() is None:
        pytest.skip("torch's OpenMP library is not GNU's here")
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize(("count", "least"), [(1, 1), (15, 1), (16, 1), (1000, 16), (1000, 300), (4099, 512)])
def test_every_number_is_in_one_part(runtime, count, least):
    seen, lock = [], threading.Lock()

    def note(begin, end, *extra):
        assert extra == ("a", 2)
        with lock:
            seen.append((begin, end))

    threads.share(note, count, "a", 2, least=least)
    assert sorted(i for begin, end in seen for i in range(begin, end)) == list(range(count))
    assert all(begin % threads.ALIGNED == 0 for begin, _ in seen)
    assert all(end - begin >= least for begin, end in seen if end < count)


def test_work_runs_in_several_threads_at_once(runtime):
    meeting = threading.Barrier(2, timeout=30)  # passes only if two threads are in it together
    threads.together(lambda: meeting.wait() and None, 2)


def test_an_error_in_a_part_is_raised(runtime):
    def fail(begin, end):
        if begin:
            raise ValueError(f"part {begin}")

    with pytest.raises(ValueError, match="part"):
        threads.share(fail, 64, least=16)


def test_torch_computes_on_after_it(runtime):
    a = torch.randn(300, 300, generator=torch.Generator().manual_seed(0))
    before = a @ a
    threads.share(lambda begin, end: None, 1000, least=16)
    assert torch.equal(a @ a, before)


@pytest.mark.parametrize("error", [OSError, AttributeError])
def test_an_openmp_library_that_cannot_be_used_is_passed_over(error, monkeypatch):
    def fail(path):
        raise error(path)

    monkeypatch.setattr(threads.ctypes, "CDLL", fail)
    assert threads.openmp.__wrapped__() is None


def test_an_interrupt_that_strikes_before_the_work_is_not_lost(monkeypatch):
    """What a signal handler raises as the callback begins is swallowed by ctypes: the callback never ran."""
    monkeypatch.setattr(threads, "openmp", lambda: lambda task, data, count, flags: None)
    with pytest.raises(KeyboardInterrupt):
        threads.together(lambda: None, 2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_a_pool_of_its_own(monkeypatch):
    monkeypatch.setattr(threads, "openmp", lambda: None)
    threads.together(lambda: None, 3)  # makes the parent's
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # a child that hangs ends by itself
        threads.together(lambda: None, 3)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
