"""Judges a signature of AWS's version 4 by botocore's own: reads a request as JSON from standard input, signs it for the
same moment, and prints what botocore makes of it."""

import datetime
import json
import sys

from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials


def main():
    asked = json.load(sys.stdin)
    moment = datetime.datetime.strptime(asked["headers"]["x-amz-date"], "%Y%m%dT%H%M%SZ")
    # Where botocore gets the time from has moved between its versions.
    auth.get_current_datetime = lambda *_, **__: moment.replace(tzinfo=datetime.timezone.utc)
    credentials = Credentials(asked["key_id"], asked["secret"], asked["token"])
    signed = {name: asked["headers"][name] for name in ("content-type", "x-amz-content-sha256")}
    request = AWSRequest("POST", asked["url"], headers=signed, data=asked["body"].encode())
    auth.SigV4Auth(credentials, asked["service"], asked["region"]).add_auth(request)
    if request.headers["X-Amz-Date"] != asked["headers"]["x-amz-date"]:
        sys.exit("signature.py: botocore did not take the moment of the request")
    print(request.headers["Authorization"])


main()
