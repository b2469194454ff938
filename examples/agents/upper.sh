#!/bin/sh
# Answers a text in capitals: an agent of one process per task (mode = "once") in plain shell.
# It reads one task line and cuts the input out of it; a text with quotes or backslashes in it needs a
# JSON parser, and is refused here.
read -r line
input=$(printf '%s' "$line" | sed -n 's/.*"input":"\([^"\\]*\)","parts":.*/\1/p')
if [ -z "$input" ]; then
    echo '{"type":"error","class":"permanent","code":"invalid_input","message":"not a plain text"}'
    exit 0
fi
printf '{"type":"result","output":"%s"}\n' "$(printf '%s' "$input" | tr '[:lower:]' '[:upper:]')"
