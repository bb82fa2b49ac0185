"""A server on loopback that speaks OpenAI's protocol as vLLM, LM Studio and Ollama do: chat and embeddings."""

import base64
import hashlib
import json
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DIMENSION = 24


def vector_of(text):
    """A bag of hashed words, so that texts with the same words are near."""
    values = [0.01] * DIMENSION
    for word in text.lower().split():
        values[hashlib.sha256(word.strip(".,?!").encode()).digest()[0] % DIMENSION] += 1.0
    length = sum(value * value for value in values) ** 0.5
    return [value / length for value in values]


class OpenAIServer:
    """Answers every chat with ``reply`` and keeps what it was asked, with the headers."""

    def __init__(self, reply="The office opens at 7 a.m. [1]", api_key=None):
        self.reply, self.api_key, self.requests = reply, api_key, []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())

    @property
    def host(self):
        return f"127.0.0.1:{self._http.server_port}"

    @property
    def url(self):
        return f"http://{self.host}/v1"

    def asked(self, route):
        return [body for path, _, body in self.requests if path == f"/v1/{route}"]

    def keys(self):
        return {headers.get("Authorization") for _, headers, _ in self.requests}

    def __enter__(self):
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._http.shutdown()
        self._http.server_close()

    def answer(self, path, headers, body):
        if self.api_key and headers.get("Authorization") != f"Bearer {self.api_key}":
            sent = headers.get("Authorization", "")
            return 401, {"error": {"message": f"Incorrect API key provided: {sent}", "code": "invalid_api_key"}}
        if path == "/v1/embeddings":
            texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
            data = [
                {"object": "embedding", "index": number, "embedding": self.encoded(vector_of(text), body)}
                for number, text in enumerate(texts)
            ]
            usage = {"prompt_tokens": 1, "total_tokens": 1}
            return 200, {"object": "list", "data": data, "model": body["model"], "usage": usage}
        if path == "/v1/chat/completions":
            message = {"role": "assistant", "content": self.reply}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
            common = {"id": "c1", "object": "chat.completion", "created": 1, "model": body["model"]}
            return 200, common | {"choices": [choice], "usage": usage}
        return 404, {"error": {"message": f"no route {path}"}}

    @staticmethod
    def encoded(vector, body):
        if body.get("encoding_format") != "base64":
            return vector
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()

    def _handler(self):
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.requests.append((self.path, dict(self.headers), body))
                status, value = server.answer(self.path, dict(self.headers), body)
                data = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        return Handler
