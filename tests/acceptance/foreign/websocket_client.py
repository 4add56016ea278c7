# Talks through the gateway over several connections, with small and large messages in both directions, and says goodbye.
import asyncio
import os
import sys

import websockets


async def talk(nth):
    async with websockets.connect("ws://%s/chat?n=%d" % (sys.argv[1], nth), max_size=None) as socket:
        for turn in range(20):
            await socket.send("message %d" % turn)
            assert await socket.recv() == "MESSAGE %d" % turn
        large = os.urandom(3_000_000)
        await socket.send(large)
        assert await socket.recv() == large
        await (await socket.ping())
    assert socket.close_code == 1000, socket.close_code


async def main():
    await asyncio.gather(*(talk(nth) for nth in range(8)))
    print("all well")


asyncio.run(main())
