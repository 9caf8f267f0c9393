"""A collector of traces: takes what comes over OTLP (HTTP, protobuf), reads it by OpenTelemetry's own message
classes, and prints each request as a line of JSON. The first line is its port."""

import base64
import json
from http.server import BaseHTTPRequestHandler, HTTPServer

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


class Collector(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.path == "/v1/traces", self.path
        assert self.headers["Content-Type"] == "application/x-protobuf", self.headers
        told = MessageToDict(ExportTraceServiceRequest.FromString(body))
        told["key"] = self.headers["x-key"]
        print(json.dumps(hexadecimal(told)), flush=True)
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def hexadecimal(value, name=""):
    """Ids as everybody writes them; JSON has bytes in base64."""
    if isinstance(value, dict):
        return {key: hexadecimal(held, key) for key, held in value.items()}
    if isinstance(value, list):
        return [hexadecimal(held) for held in value]
    if name in ("traceId", "spanId", "parentSpanId"):
        return base64.b64decode(value).hex()
    return value


server = HTTPServer(("127.0.0.1", 0), Collector)
print(server.server_port, flush=True)
server.serve_forever()
