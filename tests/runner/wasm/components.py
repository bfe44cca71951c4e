"""Handlers written by hand, for what no tool chain would build."""

from __future__ import annotations

TYPES = """
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

EXPORT = """
  (func (export "handler") (param "request" $request) (result $response)
    (canon lift (core func $guest "handler")
      (memory (core memory $guest "memory")) (realloc (core func $guest "realloc"))))
"""

REALLOC = """
    (global $free (mut i32) (i32.const 65536))
    (func $realloc (export "realloc") (param i32 i32 i32) (param $size i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
      (global.set $free (i32.add (local.get $at) (local.get $size)))
      (block $fits
        (br_if $fits (i32.le_u (global.get $free) (i32.mul (memory.size) (i32.const 65536))))
        (br_if $fits (i32.ne (i32.const -1) (memory.grow
          (i32.add (i32.div_u (local.get $size) (i32.const 65536)) (i32.const 1)))))
        unreachable)
      (local.get $at))
"""

ANSWER = '(data (i32.const 16) "\\c8\\00")'
"""200 at 16, no headers, no body."""


def handler(
    code: str = "(i32.const 16)",
    *,
    more: str = "",
    before: str = "",
    arguments: str = "",
    core_imports: str = "",
    pages: int = 2,
    types: str = TYPES,
) -> str:
    """A component whose handler runs `code`; `more` stands in its core module."""
    return f"""(component
  {before}
  (core module $code
    {core_imports}
    (memory (export "memory") {pages})
    {ANSWER}
    {REALLOC}
    {more}
    (func (export "handler") (param $request i32) (result i32) {code}))
  (core instance $guest (instantiate $code {arguments}))
  {types}
  {EXPORT})"""


def importing(interface: str, functions: str, *, types: str = "") -> str:
    """A handler that imports an instance and uses nothing of it."""
    return handler(before=f'(import "{interface}" (instance {types} {functions}))')


def calling(
    interface: str,
    function: str,
    kind: str,
    *,
    types: str = "",
    core: str,
    code: str,
) -> str:
    """A handler that calls one imported function: `kind` its type, `core` its lowered one."""
    before = f"""
  (import "{interface}" (instance $import {types} (export "{function}" (func {kind}))))
  (core module $libc (memory (export "memory") 4)
    {REALLOC})
  (core instance $libc (instantiate $libc))
  (core func $called (canon lower (func $import "{function}")
    (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
  (core instance $host (export "called" (func $called)))"""
    return f"""(component
  {before}
  (core module $code
    (import "host" "called" (func $called {core}))
    (import "libc" "memory" (memory 4))
    (import "libc" "realloc" (func $realloc (param i32 i32 i32 i32) (result i32)))
    {ANSWER}
    (func (export "handler") (param $request i32) (result i32) {code}))
  (core instance $code (instantiate $code
    (with "host" (instance $host)) (with "libc" (instance $libc))))
  {TYPES}
  (func (export "handler") (param "request" $request) (result $response)
    (canon lift (core func $code "handler")
      (memory (core memory $libc "memory")) (realloc (core func $libc "realloc")))))"""
