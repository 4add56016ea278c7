# Calls every kind of method through the gateway, many at once.
import queue
import sys
from concurrent import futures

import grpc

channel = grpc.insecure_channel(sys.argv[1])
unary = channel.unary_unary("/test.Echo/Unary")
large = b"x" * 2_000_000


def one(nth):
    answer, call = unary.with_call(b"number %d" % nth, timeout=20)
    assert answer == b"number %d" % nth, answer
    assert dict(call.trailing_metadata())["x-length"] == str(len(answer)), call.trailing_metadata()


with futures.ThreadPoolExecutor(32) as pool:
    list(pool.map(one, range(500)))
assert unary(large, timeout=20) == large
assert channel.stream_unary("/test.Echo/Collect")(iter([large, b"y", large]), timeout=20) == large + b"y" + large
assert list(channel.unary_stream("/test.Echo/Repeat")(b"n", timeout=20)) == [b"n0", b"n1", b"n2", b"n3", b"n4"]

# Each answer comes before the next request is sent.
requests = queue.Queue()
answers = channel.stream_stream("/test.Echo/Converse")(iter(requests.get, None), timeout=20)
for word in (b"hello", b"again", b"bye"):
    requests.put(word)
    answer = next(answers)
    assert answer == b"you said " + word, answer
requests.put(None)
assert list(answers) == []

for call, code in ((lambda: unary(b"refuse", timeout=20), "FAILED_PRECONDITION"),
                   (lambda: channel.unary_unary("/test.Echo/None")(b"", timeout=20), "UNIMPLEMENTED")):
    try:
        call()
    except grpc.RpcError as error:
        assert error.code().name == code, error
    else:
        raise AssertionError(code)
print("all well")
