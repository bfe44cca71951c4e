;; The smallest handler: imports nothing, answers everything with 200 and a constant body.
(component
  (core module $code
    (memory (export "memory") 1)
    ;; Given out upwards and never taken back: an instance serves one call.
    (global $free (mut i32) (i32.const 4096))
    (data (i32.const 16) "\c8\00")                     ;; status: 200
    (data (i32.const 20) "\00\00\00\00\00\00\00\00")   ;; headers: none
    (data (i32.const 28) "\01")                        ;; body: some
    (data (i32.const 32) "\40\00\00\00\07\00\00\00")   ;; seven bytes at 64
    (data (i32.const 64) "minimal")
    (func (export "realloc") (param $old i32) (param $had i32) (param $align i32) (param $size i32)
      (result i32)
      (local $at i32)
      (local.set $at
        (i32.and
          (i32.add (global.get $free) (i32.sub (local.get $align) (i32.const 1)))
          (i32.sub (i32.const 0) (local.get $align))))
      (global.set $free (i32.add (local.get $at) (local.get $size)))
      (block $fits
        (br_if $fits
          (i32.le_u (global.get $free) (i32.mul (memory.size) (i32.const 65536))))
        (br_if $fits
          (i32.ne
            (memory.grow
              (i32.add (i32.div_u (local.get $size) (i32.const 65536)) (i32.const 1)))
            (i32.const -1)))
        unreachable)
      (memory.copy
        (local.get $at)
        (local.get $old)
        (select (local.get $had) (local.get $size) (i32.lt_u (local.get $had) (local.get $size))))
      (local.get $at))
    (func (export "handler") (param $request i32) (result i32) (i32.const 16)))
  (core instance $guest (instantiate $code))

  (type $context' (record
    (field "request-id" (option string))
    (field "tenant-id" string)
    (field "extension-id" string)
    (field "install-id" (option string))
    (field "version-id" (option string))))
  (export $context "context-data" (type $context'))
  (type $header' (record (field "name" string) (field "value" string)))
  (export $header "http-header" (type $header'))
  (type $inbound' (record
    (field "method" string)
    (field "url" string)
    (field "headers" (list $header))
    (field "body" (option (list u8)))))
  (export $inbound "http-request" (type $inbound'))
  (type $request' (record (field "context" $context) (field "http" $inbound)))
  (export $request "execute-request" (type $request'))
  (type $response' (record
    (field "status" u16)
    (field "headers" (list $header))
    (field "body" (option (list u8)))))
  (export $response "execute-response" (type $response'))

  (func (export "handler") (param "request" $request) (result $response)
    (canon lift (core func $guest "handler")
      (memory (core memory $guest "memory"))
      (realloc (core func $guest "realloc")))))
