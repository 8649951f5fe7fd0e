"""Work of every kind that a process may be given, for `test_worker`."""

from __future__ import annotations

import os
import signal
import time

from exeunt.service import worker


def work(data: bytes) -> bytes:
    match data:
        case b"for ever":
            while True:
                time.sleep(60)
        case b"busy for ever":
            while True:
                pass
        case b"some time":
            ends = time.process_time() + 0.2
            while time.process_time() < ends:
                pass
        case b"stops":
            os.kill(os.getpid(), signal.SIGSTOP)
        case b"all memory":
            return bytes(1 << 40)
        case b"die":
            os.kill(os.getpid(), signal.SIGKILL)
        case b"fail":
            raise ValueError("no such thing")
        case b"print":
            print("this is no answer")
        case b"environment":
            return " ".join(os.environ).encode()
    return f"{os.getpid()} {len(data)}".encode()


if __name__ == "__main__":
    worker.serve(work)
