"""Handlers that no compiler would make, written by hand."""

from __future__ import annotations

from functools import cache
from string import Template
from typing import cast

_TYPES = """
  (type $context' (record
    (field "request-id" (option string)) (field "tenant-id" string)
    (field "extension-id" string) (field "install-id" (option string))
    (field "version-id" (option string))))
  (export $context "context-data" (type $context'))
  (type $header' (record (field "name" string) (field "value" string)))
  (export $header "http-header" (type $header'))
  (type $inbound' (record
    (field "method" string) (field "url" string) (field "headers" (list $header))
    (field "body" (option (list u8)))))
  (export $inbound "http-request" (type $inbound'))
  (type $request' (record (field "context" $context) (field "http" $inbound)))
  (export $request "execute-request" (type $request'))
  (type $response' (record
    (field "status" u16) (field "headers" (list $header)) (field "body" (option (list u8)))))
  (export $response "execute-response" (type $response'))
"""
_COMPONENT = Template(
    """(component
  $imports
  (core module $$code
    $core_imports
    $memory
    $more
    (global $$free (mut i32) (i32.const 8192))
    (data (i32.const 16) "\\c8\\00")
    $data
    (func (export "realloc") (param i32 i32) (param $$align i32) (param $$size i32) (result i32)
      (local $$at i32)
      (local.set $$at (i32.and
        (i32.add (global.get $$free) (i32.sub (local.get $$align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $$align))))
      (global.set $$free (i32.add (local.get $$at) (local.get $$size)))
      (local.get $$at))
    (func (export "handler") (param $$request i32) (result i32)
      $code
      (i32.const 16)))
  $instance
  $types
  $export)
"""
)
_INSTANCE = "(core instance $guest (instantiate $code))"
_EXPORT = """(func (export "handler") (param "request" $request) (result $response)
    (canon lift (core func $guest "handler")
      (memory (core memory $guest "memory")) (realloc (core func $guest "realloc"))))"""
_MEMORY = '(memory (export "memory") 1)'


def text(
    *,
    code: str = "",
    memory: str = _MEMORY,
    data: str = "",
    more: str = "",
    imports: str = "",
    core_imports: str = "",
    instance: str = _INSTANCE,
    export: str = _EXPORT,
    types: str = _TYPES,
) -> str:
    """A component in words. Its handler runs `code` and answers with what lies at address 16:

    status u16, and at 20 the pointer and count of headers, at 28 whether there is a body, at 32
    its pointer and size.
    """
    return _COMPONENT.substitute(
        code=code,
        memory=memory,
        data=data,
        more=more,
        imports=imports,
        core_imports=core_imports,
        instance=instance,
        export=export,
        types=types,
    )


@cache
def binary(words: str) -> bytes:
    from wasmtime import wat2wasm

    return bytes(cast(bytes, wat2wasm(words)))


PLAIN = text()
"""Answers 200 without headers and body."""


def status_if(condition: str) -> str:
    """Answers 200 when an i32 is not zero, and 500 otherwise."""
    return text(
        code=f"(if (i32.eqz {condition}) (then (i32.store16 (i32.const 16) (i32.const 500))))"
    )


def memory(pages: int, *, most: str = "") -> str:
    """Starts with so many pages of 64 KiB."""
    return text(memory=f'(memory (export "memory") {pages} {most})')


def table(elements: int) -> str:
    return text(more=f"(table {elements} funcref)")


IMPORTS_A_VERSION = text(
    imports="""(import "alga:extension/logging@1.0.0"
      (instance (export "log-info" (func (param "message" string)))))"""
)
IMPORTS_ANOTHER_INTERFACE = text(
    imports='(import "alga:extension/files" (instance (export "open" (func))))'
)
IMPORTS_ANOTHER_FUNCTION = text(
    imports='(import "alga:extension/logging" (instance (export "log-debug" (func))))'
)
IMPORTS_ANOTHER_TYPE = text(
    imports="""(import "alga:extension/logging"
      (instance (export "log-info" (func (param "message" u32)))))"""
)
IMPORTS_ANOTHER_RESULT = text(
    imports="""(import "alga:extension/secrets"
      (instance (export "get" (func (param "key" string) (result string)))))"""
)
IMPORTS_TYPES_ONLY = text(
    imports="""(import "alga:extension/types" (instance
      (type $e (enum "missing" "denied" "expired" "internal"))
      (export "secret-error" (type (eq $e)))
      (type $h (record (field "name" string) (field "value" string)))
      (export "http-header" (type (eq $h)))))"""
)
IMPORTS_A_SUBSET = text(
    imports="""(import "alga:extension/logging"
      (instance (export "log-warn" (func (param "message" string)))))"""
)
NO_HANDLER = text(export="")
HANDLER_OF_ANOTHER_NAME = text(
    export=_EXPORT.replace('"handler") (param "r', '"handle") (param "r')
)
HANDLER_WITHOUT_PARAMETER = text(
    more='(func (export "bare") (result i32) (i32.const 16))',
    export="""(func (export "handler") (result $response)
      (canon lift (core func $guest "bare") (memory (core memory $guest "memory"))))""",
)
HANDLER_OF_ANOTHER_RESULT = text(
    more='(func (export "bare") (result i32) (i32.const 7))',
    export='(func (export "handler") (result u32) (canon lift (core func $guest "bare")))',
)
HANDLER_IN_AN_INSTANCE = text(
    export="""(func $lifted (param "request" $request) (result $response)
      (canon lift (core func $guest "handler")
        (memory (core memory $guest "memory")) (realloc (core func $guest "realloc"))))
    (instance $inner (export "handler" (func $lifted)))
    (export "alga:extension/inner" (instance $inner))"""
)
CORE_MODULE = """(module (memory (export "memory") 1)
  (func (export "handler") (param i32) (result i32) (i32.const 16)))"""
TWO_MEMORIES = text(memory=f"{_MEMORY} (memory 1)")
TRAPS_AT_ITS_START = text(more="(func $begin unreachable) (start $begin)")
LOOPS_AT_ITS_START = text(more="(func $begin (loop $again (br $again))) (start $begin)")
LOOPS = text(code="(loop $again (br $again))")
TRAPS = text(code="(unreachable)")
RECURSES = text(more="(func $deep (call $deep))", code="(call $deep)")
RECURSES_WITH_WORK = text(
    more="(func $deep (param i64) (result i64) (i64.add (call $deep (local.get 0)) (i64.const 1)))",
    code="(drop (call $deep (i64.const 1)))",
)
DIVIDES_BY_ZERO = text(code="(drop (i32.div_u (i32.const 1) (i32.const 0)))")
READS_OUTSIDE = text(code="(drop (i32.load (i32.const -8)))")
ANSWERS_FROM_OUTSIDE = text(code="(return (i32.const -64))")
ANSWERS_UNALIGNED = text(code="(return (i32.const 17))")
BODY_OUTSIDE = text(
    data='(data (i32.const 28) "\\01") (data (i32.const 32) "\\00\\00\\00\\10\\ff\\ff\\00\\00")'
)
BODY_OF_4_GIB = text(
    data='(data (i32.const 28) "\\01") (data (i32.const 32) "\\00\\00\\00\\00\\ff\\ff\\ff\\ff")'
)
BODY_NEITHER_SOME_NOR_NONE = text(data='(data (i32.const 28) "\\07")')
HEADER_THAT_IS_NO_TEXT = text(
    data="""(data (i32.const 20) "\\40\\00\\00\\00\\01\\00\\00\\00")
      (data (i32.const 64) "\\80\\00\\00\\00\\01\\00\\00\\00\\80\\00\\00\\00\\01\\00\\00\\00")
      (data (i32.const 128) "\\ff")"""
)
HEADERS_WITHOUT_END = text(data='(data (i32.const 20) "\\40\\00\\00\\00\\ff\\ff\\ff\\7f")')
GREATEST_STATUS = text(data='(data (i32.const 16) "\\ff\\ff")')

_LOGGING = """(import "alga:extension/logging"
      (instance $logging (export "log-info" (func (param "message" string)))))
    (core module $shared (memory (export "memory") 1)
      (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096)))
    (core instance $store (instantiate $shared))
    (core func $log (canon lower (func $logging "log-info")
      (memory (core memory $store "memory"))))"""
_LOGGING_INSTANCE = """(core instance $guest (instantiate $code
      (with "host" (instance (export "log" (func $log))))))"""


def logging(code: str, *, start: str = "", shared: str = "") -> str:
    """May `(call $log pointer size)` with a memory of the strings' own, filled by `shared`."""
    alone = '(memory (export "memory") 1)'
    return text(
        imports=_LOGGING.replace(alone, f"{alone} {shared}"),
        core_imports="""(import "host" "log" (func $log (param i32 i32)))""",
        instance=_LOGGING_INSTANCE,
        code=code,
        more=f"(func $begin {start}) (start $begin)" if start else "",
    )


LOGS_NO_TEXT = logging(
    "(call $log (i32.const 0) (i32.const 1))", shared='(data (i32.const 0) "\\ff")'
)
LOGS_FROM_OUTSIDE = logging("(call $log (i32.const 65530) (i32.const 100))")
LOGS_4_GIB = logging("(call $log (i32.const 0) (i32.const -1))")
LOGS_AT_ITS_START = logging(
    "", start="(call $log (i32.const 0) (i32.const 5))", shared='(data (i32.const 0) "early")'
)
LOGS_FOR_EVER = logging(
    "(loop $again (call $log (i32.const 0) (i32.const 5)) (br $again))",
    shared='(data (i32.const 0) "again")',
)


def item_kind(discriminant: int) -> str:
    """Asks for services of a kind that is one of two when it is 0 or 1."""
    return text(
        imports="""(import "alga:extension/services" (instance $services
      (type $kind' (enum "service" "product"))
      (export "service-item-kind" (type $kind (eq $kind')))
      (type $method' (enum "fixed" "hourly" "usage"))
      (export "service-billing-method" (type $method (eq $method')))
      (type $error' (enum "not-allowed" "invalid-input" "internal"))
      (export "service-read-error" (type $error (eq $error')))
      (type $summary' (record
        (field "service-id" string) (field "service-name" string) (field "item-kind" $kind)
        (field "billing-method" $method) (field "service-type-id" (option string))
        (field "service-type-name" (option string)) (field "default-rate" float64)
        (field "unit-of-measure" string) (field "is-active" bool) (field "sku" (option string))))
      (export "service-summary" (type $summary (eq $summary')))
      (type $input' (record
        (field "search" (option string)) (field "item-kind" (option $kind))
        (field "is-active" (option bool)) (field "billing-method" (option $method))
        (field "page" (option u32)) (field "page-size" (option u32))))
      (export "services-list-input" (type $input (eq $input')))
      (type $result' (record
        (field "items" (list $summary)) (field "total-count" u32) (field "page" u32)
        (field "page-size" u32)))
      (export "services-list-result" (type $result (eq $result')))
      (export "list-services"
        (func (param "input" $input) (result (result $result (error $error)))))))
    (core module $shared (memory (export "memory") 1)
      (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096)))
    (core instance $store (instantiate $shared))
    (core func $list (canon lower (func $services "list-services")
      (memory (core memory $store "memory")) (realloc (core func $store "realloc"))))""",
        core_imports="""(import "host" "list" (func $list
      (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))""",
        instance="""(core instance $guest (instantiate $code
      (with "host" (instance (export "list" (func $list))))))""",
        code=f"""(call $list
      (i32.const 0) (i32.const 0) (i32.const 0)
      (i32.const 1) (i32.const {discriminant})
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
      (i32.const 1024))""",
    )


def wasi_http(version: str) -> str:
    """Makes an empty set of headers of `wasi:http`."""
    return text(
        imports=f"""(import "wasi:http/types@{version}" (instance $http
      (export "fields" (type $fields (sub resource)))
      (export "[constructor]fields" (func (result (own $fields))))))
    (core func $new (canon lower (func $http "[constructor]fields")))""",
        core_imports='(import "host" "new" (func $new (result i32)))',
        instance="""(core instance $guest (instantiate $code
      (with "host" (instance (export "new" (func $new))))))""",
        code="(drop (call $new))",
    )
