# Sends every message back, in capitals where it is text.
import asyncio
import os
import signal

import websockets


async def echo(socket, *_):
    async for message in socket:
        await socket.send(message.upper() if isinstance(message, str) else message)


async def main():
    stop = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set_result, None)
    async with websockets.serve(echo, os.environ["HOST"], int(os.environ["PORT"]), max_size=None):
        await stop


asyncio.run(main())
