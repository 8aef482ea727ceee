"""What can be wrong with a request before any service is asked.

RequestError                  the request itself
├── BodyUnreadable            no JSON, nested too deep, or with characters that no text has
├── BodyTooLarge              more than 1 MiB
├── WrongContentType          JSON came under another name, or something else came
├── MalformedAddress          control characters in the path or in the query
├── NoSuchPath                no such place below /api/v1
└── WrongMethod               the place is there, this method is not
"""

from comserv.domain.errors import ComservError


class RequestError(ComservError):
    """The request cannot be handled.

    Compare it with the reference under /api/v1/docs.
    """


class BodyUnreadable(RequestError):
    """The request's body is not JSON that Comserv can read.

    Send one JSON object in UTF-8.
    """


class BodyTooLarge(RequestError):
    """The request's body is too large.

    No request of this API needs more than 1 MiB.
    """


class WrongContentType(RequestError):
    """The request's body is not declared as JSON.

    Send it with `Content-Type: application/json`.
    """


class MalformedAddress(RequestError):
    """The address holds characters that no name has.

    Percent-encode names in the path and in the query as UTF-8.
    """


class NoSuchPath(RequestError):
    """There is nothing at {path}.

    The reference under /api/v1/docs lists every path; none of them ends with a slash.
    """


class WrongMethod(RequestError):
    """{path} does not know the method {method}.

    The header `Allow` of this reply and the reference under /api/v1/docs say which it knows.
    """
