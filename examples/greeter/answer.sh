#!/bin/sh
# One request, up to the empty line after its head. A connection without one was a check.
read -r request || exit 0
while read -r line && [ "$line" != "$(printf '\r')" ]; do :; done
body="Hello from a shell script: $request"
printf 'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s\n' $((${#body} + 1)) "$body"
