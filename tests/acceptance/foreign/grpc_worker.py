# A gRPC service with a method of each kind. It sends back what it got.
import os
import signal
from concurrent import futures

import grpc


def unary(request, context):
    if request == b"refuse":
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "as you like")
    context.set_trailing_metadata((("x-length", str(len(request))),))
    return request


def collect(requests, context):
    return b"".join(requests)


def repeat(request, context):
    for nth in range(5):
        yield request + b"%d" % nth


def converse(requests, context):
    for request in requests:
        yield b"you said " + request


class Service(grpc.GenericRpcHandler):
    def service(self, call):
        return {
            "/test.Echo/Unary": grpc.unary_unary_rpc_method_handler(unary),
            "/test.Echo/Collect": grpc.stream_unary_rpc_method_handler(collect),
            "/test.Echo/Repeat": grpc.unary_stream_rpc_method_handler(repeat),
            "/test.Echo/Converse": grpc.stream_stream_rpc_method_handler(converse),
        }.get(call.method)


server = grpc.server(futures.ThreadPoolExecutor(16))
server.add_generic_rpc_handlers((Service(),))
assert server.add_insecure_port("%s:%s" % (os.environ["HOST"], os.environ["PORT"]))
server.start()
signal.signal(signal.SIGTERM, lambda *_: server.stop(5))
server.wait_for_termination()
