#!/usr/bin/env python3
"""An HTTP origin that fails on purpose.

    fault_origin.py FOLDER        (on a free port of loopback, which it prints)

GET or HEAD /FAULT[:N]/FILE serves FOLDER/FILE, failing as FAULT says; N counts
bytes of the body (or milliseconds, where so said):

  ok             no fault, ranges included
  close:N        says the whole length, closes after N bytes (default: half)
  reset:N        the same, but with a TCP reset
  stall:N        says the whole length, sends N bytes, then nothing for 10 minutes
  longer:N       Content-Length is N more than what comes, then closes (default 1)
  shorter:N      Content-Length is N less than what comes (default 1)
  nolength       no length at all: the end of the connection is the end
  chunked        chunked transfer coding
  badchunk:N     chunked, and garbage for a chunk size after N bytes
  cutchunk:N     chunked, and closed without the last chunk after N bytes
  delay:MS       answers after MS milliseconds
  drip:MS        one byte each MS milliseconds
  ignorerange    answers 200 with the whole file to a range request
  wrongrange     answers 206 with another range than was asked for
  corrupt:N      byte N is flipped
  nohead         405 to HEAD
  flaky:N        503 to the first N requests for that path, then fine
  redirect:N     status N (default 302) to the same file without fault
  away:N         status N (default 302) to the URL that is the query

GET /seen answers with the targets of all requests but these, one a line.
"""
import os, re, socket, socketserver, struct, sys, threading, time

FOLDER = os.path.realpath(sys.argv[1])
seen, asked, lock = {}, [], threading.Lock()


class Origin(socketserver.StreamRequestHandler):
    def handle(self):
        try:
            while self.one():
                pass
        except (ConnectionError, TimeoutError):
            pass

    def head(self, status, **headers):
        lines = [f"HTTP/1.1 {status}"] + [f"{k.replace('_', '-')}: {v}" for k, v in headers.items() if v is not None]
        self.wfile.write(("\r\n".join(lines) + "\r\n\r\n").encode())

    def plain(self, status):
        self.head(status, Content_Length=0)
        return True

    def one(self):
        """Answers one request; true if the connection may go on."""
        line = self.rfile.readline(8192).decode("latin-1").split()
        if len(line) < 3:
            return False
        method, target, headers = line[0], line[1], {}
        while (h := self.rfile.readline(8192).decode("latin-1").strip()):
            k, _, v = h.partition(":")
            headers[k.lower()] = v.strip()
        if target == "/seen":
            with lock:
                body = "\n".join(asked).encode()
            self.head("200 OK", Content_Length=len(body))
            self.wfile.write(body)
            return True
        with lock:
            asked.append(target)
        m = re.fullmatch(r"/([a-z]+)(?::(\d+))?/([^?]*)(?:\?(.*))?", target)
        path = m and os.path.realpath(os.path.join(FOLDER, m[3]))
        if not m or not path.startswith(FOLDER + os.sep) or not os.path.isfile(path):
            return self.plain("404 Not Found")
        if method not in ("GET", "HEAD"):
            return self.plain("405 Method Not Allowed")
        fault, n = m[1], int(m[2]) if m[2] else None
        if fault in ("redirect", "away"):
            to = m[4] if fault == "away" else f"/ok/{m[3]}"
            self.head(f"{n or 302} Moved", Location=to, Content_Length=0)
            return True
        with open(path, "rb") as f:
            data = f.read()
        size, start, end, status, crange = len(data), 0, len(data), "200 OK", None
        r = re.fullmatch(r"bytes=(\d*)-(\d*)", headers.get("range", ""))
        if r and (r[1] or r[2]) and fault != "ignorerange":
            if r[1]:
                start, end = int(r[1]), min(int(r[2]) + 1 if r[2] else size, size)
            else:
                start = max(size - int(r[2]), 0)
            if start >= size or start >= end:
                self.head("416 Range Not Satisfiable", Content_Range=f"bytes */{size}", Content_Length=0)
                return True
            if fault == "wrongrange":
                start, end = (start - 1, end - 1) if start else (1, min(end + 1, size))
            status, crange = "206 Partial Content", f"bytes {start}-{end - 1}/{size}"
        body = data[start:end]
        length = len(body)
        half = length // 2 if n is None else n
        if fault == "flaky":
            with lock:
                seen[target] = seen.get(target, 0) + 1
                if seen[target] <= (1 if n is None else n):
                    return self.plain("503 Service Unavailable")
        if fault == "nohead" and method == "HEAD":
            return self.plain("405 Method Not Allowed")
        if fault == "delay":
            time.sleep((1000 if n is None else n) / 1000)
        if fault == "corrupt" and body:
            i = min(half, length - 1)
            body = body[:i] + bytes([body[i] ^ 0xFF]) + body[i + 1:]
        if fault == "longer":
            length += 1 if n is None else n
        if fault == "shorter":
            length = max(length - (1 if n is None else n), 0)
        chunked = fault in ("chunked", "badchunk", "cutchunk")
        unsized = chunked or fault == "nolength"
        last = fault in ("close", "reset", "stall", "longer", "shorter", "nolength", "badchunk", "cutchunk")
        self.head(status, Content_Type="application/octet-stream", ETag=f'"{os.stat(path).st_mtime_ns:x}"',
                  Accept_Ranges=None if fault == "ignorerange" else "bytes", Content_Range=crange,
                  Content_Length=None if unsized else length, Transfer_Encoding="chunked" if chunked else None,
                  Connection="close" if last else None)
        if method == "HEAD":
            return not last
        if chunked:
            cut = len(body) if fault == "chunked" else half
            for i in range(0, cut, 65536):
                part = body[i:min(i + 65536, cut)]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.write({"chunked": b"0\r\n\r\n", "badchunk": b"zz\r\ngarbage", "cutchunk": b""}[fault])
        elif fault in ("close", "reset", "stall"):
            self.wfile.write(body[:half])
            if fault == "stall":
                time.sleep(600)
            if fault == "reset":
                time.sleep(0.2)  # let what was sent arrive: a reset discards it
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
        elif fault == "drip":
            for i in range(len(body)):
                self.wfile.write(body[i:i + 1])
                time.sleep((100 if n is None else n) / 1000)
        else:
            self.wfile.write(body)
        return not last

    def finish(self):
        try:
            super().finish()
        except OSError:
            pass


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    request_queue_size = 128

    def shutdown_request(self, request):
        # After a reset the socket is closed already; otherwise close in order.
        try:
            super().shutdown_request(request)
        except OSError:
            pass


server = Server(("127.0.0.1", 0), Origin)
print(server.server_address[1], flush=True)
server.serve_forever()
