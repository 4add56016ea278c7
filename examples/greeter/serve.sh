#!/bin/sh
exec socat "TCP-LISTEN:$PORT,bind=$HOST,reuseaddr,fork" "EXEC:sh greeter/answer.sh"
