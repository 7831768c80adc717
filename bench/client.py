"""Clients that count: one connection with one request after the other, and many at a fixed rate or at once."""

import ctypes
import gc
import select
import socket
import time

PR_SET_TIMERSLACK = 29


class Answers:
    """Cuts what a connection sends into answers."""

    def __init__(self):
        self.buffer = b""

    def take(self, data):
        """The status of the answer that is complete with this data, or none."""
        self.buffer = self.buffer + data if self.buffer else data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = self.buffer[:end].lower()
        at = head.find(b"content-length:")
        if at < 0:
            raise SystemExit("bench: an answer without a length: %r" % head)
        length = int(head[at + 15 :].split(b"\r\n", 1)[0])
        if len(self.buffer) < end + 4 + length:
            return None
        self.buffer = self.buffer[end + 4 + length :]
        return int(head[9:12])


class Client:
    """A connection that is kept, with one request at a time."""

    def __init__(self, port, timeout=120):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.answers = Answers()

    def receive(self):
        """Reads once; whether an answer is complete, which must have status 200."""
        data = self.socket.recv(65536)
        if not data:
            raise SystemExit("bench: nginx has closed the connection")
        status = self.answers.take(data)
        if status not in (None, 200):
            raise SystemExit("bench: answered %d" % status)
        return status is not None

    def ask(self, requests, count, first=0):
        """Sends so many of the requests in turn."""
        for n in range(first, first + count):
            self.socket.sendall(requests[n % len(requests)])
            while not self.receive():
                pass

    def close(self):
        self.socket.close()


def at_rate(port, requests, rate, seconds, connections=64):
    """Asks at a constant rate whether or not answers come, and returns the times to the answers.

    A request that finds no connection free waits, and that time counts: a slow server can't slow the
    clients down. What the client itself is late by does not count.
    """
    # Else a sleep lasts 50 microseconds longer than asked for.
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    clients = {}
    for _ in range(connections):
        client = Client(port)
        clients[client.socket] = client
    free = list(clients.values())
    began, late, times = {}, [], []
    total, issued, sent = int(rate * seconds), 0, 0
    clock = time.perf_counter

    def send(client, since):
        nonlocal sent
        began[client] = since
        client.socket.send(requests[sent % len(requests)])
        sent += 1

    gc.collect()
    gc.disable()
    try:
        start = clock() + 0.01
        while len(times) < total:
            now = clock()
            while issued < total and start + issued / rate <= now:
                if free:
                    send(free.pop(), clock())
                else:
                    late.append(start + issued / rate)
                issued += 1
            pause = max(0, start + issued / rate - clock()) if issued < total else 30
            ready, _, _ = select.select(clients, (), (), pause)
            if not ready and issued == total:
                raise SystemExit("bench: no answer within 30 seconds")
            for socket_ in ready:
                client = clients[socket_]
                if client.receive():
                    times.append(clock() - began.pop(client))
                    if late:
                        send(client, late.pop(0))
                    else:
                        free.append(client)
    finally:
        gc.enable()
        for client in clients.values():
            client.close()
    return sorted(times)


def at_once(port, request, connections, meanwhile=None):
    """Sends the same request on so many connections at once; the times to the answers."""
    clients = [Client(port) for _ in range(connections)]
    by_fd = {client.socket.fileno(): client for client in clients}
    poll = select.epoll()
    for fd in by_fd:
        poll.register(fd, select.EPOLLIN)
    # nginx is to have accepted them all.
    time.sleep(0.3)
    sent, times = {}, []
    for client in clients:
        sent[client] = time.perf_counter()
        client.socket.send(request)
    if meanwhile:
        meanwhile()
    while len(times) < connections:
        events = poll.poll(60)
        if not events:
            raise SystemExit("bench: no answer within 60 seconds")
        for fd, _ in events:
            if by_fd[fd].receive():
                times.append(time.perf_counter() - sent[by_fd[fd]])
    poll.close()
    for client in clients:
        client.close()
    return sorted(times)
