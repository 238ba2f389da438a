from __future__ import annotations

import pytest

from bench.httphead import BadMessageError, Ends, Head

REQUEST = b"GET /bucket/key HTTP/1.1\r\nHost: 127.0.0.1:9\r\nRange: bytes=0-9\r\n\r\n"


def response(*lines: bytes, status: bytes = b"200 OK") -> Head:
    return Head([b"HTTP/1.1 " + status, *lines])


def test_a_head_is_passed_on_byte_for_byte_since_s3_signs_it() -> None:
    assert Head.parse(REQUEST).encode() == REQUEST


def test_headers_are_found_whatever_their_case() -> None:
    assert Head.parse(REQUEST).header(b"range") == b"bytes=0-9"
    assert Head.parse(REQUEST).header(b"content-length") == b""


def test_one_header_can_be_left_out() -> None:
    head = Head([b"PUT / HTTP/1.1", b"Expect: 100-continue", b"Host: a"])
    assert head.without(b"expect").lines == [b"PUT / HTTP/1.1", b"Host: a"]


def test_a_request_has_no_body_unless_it_says_so() -> None:
    assert Head.parse(REQUEST).request_body() == 0
    assert Head([b"PUT / HTTP/1.1", b"content-length: 12"]).request_body() == 12


def test_a_response_ends_with_its_length_its_chunks_or_the_connection() -> None:
    assert response(b"Content-Length: 7").response_body("GET") == 7
    assert response(b"Transfer-Encoding: chunked").response_body("GET") is Ends.CHUNKED
    assert response().response_body("GET") is Ends.WITH_CONNECTION


def test_a_response_to_head_and_one_without_content_have_no_body() -> None:
    assert response(b"Content-Length: 7").response_body("HEAD") == 0
    assert response(status=b"304 Not Modified").response_body("GET") == 0


def test_what_has_no_start_line_is_refused() -> None:
    with pytest.raises(BadMessageError, match="no start line"):
        Head.parse(b"nonsense\r\n\r\n")
