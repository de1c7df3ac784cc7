"""A small client of the Runtime API: it calls the function HANDLER of a module."""

import http.client
import importlib
import json
import os
import sys
import traceback

sys.path.insert(0, os.environ["LAMBDA_TASK_ROOT"])
module, function = os.environ["_HANDLER"].rsplit(".", 1)
handler = getattr(importlib.import_module(module), function)
api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
prefix = "/2018-06-01/runtime/invocation/"

while True:
    api.request("GET", prefix + "next")
    response = api.getresponse()
    event = json.loads(response.read() or "null")
    request = response.getheader("Lambda-Runtime-Aws-Request-Id")
    try:
        body, path = json.dumps(handler(event, None)), "/response"
    except Exception as e:
        traceback.print_exc()
        body = json.dumps({"errorType": type(e).__name__, "errorMessage": str(e)})
        path = "/error"
    api.request("POST", prefix + request + path, body)
    api.getresponse().read()
