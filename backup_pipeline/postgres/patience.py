"""Patience with a server: a connection that is waited on for too long is cut, so that whoever waits goes on."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg

_MOST_BEYOND_S = 30.0


class Patience:
    """How long one wait for a server may take, in seconds; 0: for ever.

    A server ends its statements in time by itself. This is for when no word of it arrives: a network, or a pooler, that
    stands still and keeps the connection open, on which the driver would wait for ever.
    """

    def __init__(self, seconds: float = 0) -> None:
        self.seconds = seconds

    @classmethod
    def beyond(cls, statement_timeout_s: float) -> Patience:
        """A little longer than the server lets a statement run, so that it is the first to say so."""
        return cls(statement_timeout_s + min(_MOST_BEYOND_S, statement_timeout_s))

    @contextmanager
    def waiting(self, connection: psycopg.Connection[Any]) -> Iterator[None]:
        """Cut `connection` when this lasts too long; what then fails is an OperationalError that says so."""
        if not self.seconds:
            yield
            return
        end = _End(connection)
        timer = threading.Timer(self.seconds, end.cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        except psycopg.Error as error:
            if not end.was_cut:
                raise
            message = f"no answer came within {self.seconds:g} s, and the connection was cut"
            raise psycopg.OperationalError(message) from error
        finally:
            timer.cancel()
            end.over()


class _End:
    """Cuts a connection's socket, from another thread, unless the wait for it is over."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._guard = threading.Lock()
        self._over = False
        self.was_cut = False

    def cut(self) -> None:
        """Whoever reads or writes there is told at once."""
        with self._guard, suppress(OSError, psycopg.Error):
            if not self._over:
                with socket.socket(fileno=os.dup(self._connection.fileno())) as end:
                    self.was_cut = True
                    end.shutdown(socket.SHUT_RDWR)

    def over(self) -> None:
        """From now on the connection is left alone."""
        with self._guard:
            self._over = True
