;; Exports the lifecycle under its name, with functions of other types than the contract's.
(component
  (core module $code
    (func (export "nothing"))
    (func (export "number") (result i32) i32.const 0))
  (core instance $code (instantiate $code))
  (func $describe (canon lift (core func $code "nothing")))
  (func $on-message (result u32) (canon lift (core func $code "number")))
  (instance $lifecycle
    (export "describe" (func $describe))
    (export "on-message" (func $on-message)))
  (export "podium:agent/lifecycle@0.1.0" (instance $lifecycle)))
