/**
 * The kernel's two hot loops as a WebAssembly module that is assembled here byte by byte (fixed-width SIMD without
 * relaxed operations: the same bits on every machine). About six times faster than loops over typed arrays. Opcodes:
 * https://webassembly.github.io/spec/core/appendix/index-instructions.html
 */
export interface KernelMath {
  /**
   * out[o] = bias[o] + sum_i x[i] w[i, o] in float32, summed in the order of i. All arguments are byte addresses in
   * `memory`, except `inputs` (>= 1) and `outputs` (a multiple of 4); w is [inputs, outputs]. `bias` may equal `out`.
   */
  dense(x: number, w: number, bias: number, out: number, inputs: number, outputs: number): void
  /**
   * tanh in place of the float32s in [from, to), both multiples of 16. Uses the rational approximation of Eigen
   * (MathFunctionsImpl.h, ptanh_float), as ONNX Runtime does.
   */
  tanh(from: number, to: number): void
}

/** Instantiates the module with `bytes` of new memory. */
export function kernelMath(bytes: number): { math: KernelMath; memory: ArrayBuffer } {
  const pages = Math.ceil(bytes / 65536)
  compiled ??= new WebAssembly.Module(moduleBytes())
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages })
  const instance = new WebAssembly.Instance(compiled, { m: { m: memory } })
  return { math: instance.exports as KernelMath, memory: memory.buffer }
}

/** The used part of the platform's WebAssembly API; Node's types leave it to the DOM library. */
declare const WebAssembly: {
  Module: new (bytes: Uint8Array) => object
  Memory: new (limits: { initial: number; maximum: number }) => { readonly buffer: ArrayBuffer }
  Instance: new (module: object, imports: object) => { readonly exports: unknown }
}

let compiled: object | undefined

type Code = readonly number[]
const I32 = 0x7f
const V128 = 0x7b
const EMPTY = 0x40

const get = (local: number): Code => [0x20, local]
const set = (local: number): Code => [0x21, local]
const i32 = (value: number): Code => [0x41, ...signedLeb(value)]
const add: Code = [0x6a]
const mul: Code = [0x6c]
const shiftLeft: Code = [0x74]
const lessThan: Code = [0x49]
const lessOrEqual: Code = [0x4d]
const simd = (op: number, ...rest: number[]): Code => [0xfd, ...leb(op), ...rest]
const load = (offset = 0): Code => simd(0x00, 4, ...leb(offset))
const store = (offset = 0): Code => simd(0x0b, 4, ...leb(offset))
const loadSplat: Code = simd(0x09, 2, 0)
const addF: Code = simd(0xe4)
const mulF: Code = simd(0xe6)
const divF: Code = simd(0xe7)
const minF: Code = simd(0xe8)
const maxF: Code = simd(0xe9)
const constF = (value: number): Code => simd(0x0c, ...new Uint8Array(new Float32Array(4).fill(value).buffer))
/** The instructions of one statement, on one line of the code below. */
const statement = (...parts: Code[]): Code => parts.flat()
const advance = (local: number, by: Code): Code => [...get(local), ...by, ...add, ...set(local)]
/** Runs `body` at least once, and repeats it while `condition` holds. */
const repeat = (body: Code, condition: Code): Code => [0x03, EMPTY, ...body, ...condition, 0x0d, 0, 0x0b]
const when = (condition: Code, body: Code): Code => [...condition, 0x04, EMPTY, ...body, 0x0b]

/** Computes outputs o .. o + 4 accumulators - 1 and advances o. Locals: see denseCode. */
function denseBlock(accumulators: number): Code {
  const [X, W, BIAS, OUT, , , ROW_BYTES, O, XP, WP, END] = Array.from({ length: 11 }, (_, i) => i)
  const first = 11
  const at = (base: number): Code => [...get(base), ...get(O), ...add]
  const each = (body: (local: number, offset: number) => Code): Code =>
    Array.from({ length: accumulators }, (_, i) => body(first + i, i * 16)).flat()
  const splat = first + 4
  return [
    ...each((local, offset) => [...at(BIAS), ...load(offset), ...set(local)]),
    ...statement(get(X), set(XP)),
    ...statement(at(W), set(WP)),
    ...repeat(
      [
        ...statement(get(XP), loadSplat, set(splat)),
        ...each((local, offset) => [
          ...get(local),
          ...statement(get(splat), get(WP), load(offset), mulF),
          ...statement(addF, set(local)),
        ]),
        ...advance(WP, get(ROW_BYTES)),
        ...advance(XP, i32(4)),
      ],
      [...get(XP), ...get(END), ...lessThan],
    ),
    ...each((local, offset) => [...at(OUT), ...get(local), ...store(offset)]),
    ...advance(O, i32(accumulators * 16)),
  ]
}

/** Parameters x, w, bias, out, inputs, outputs (0-5); row bytes, o, xp, wp, end (6-10); four sums, splat (11-15). */
function denseCode(): Code {
  const [X, INPUTS, OUTPUTS, ROW_BYTES, O, END] = [0, 4, 5, 6, 7, 10]
  const fits = (bytes: number): Code => [...get(O), ...i32(bytes), ...add, ...get(ROW_BYTES), ...lessOrEqual]
  return [
    ...statement(get(OUTPUTS), i32(2), shiftLeft, set(ROW_BYTES)),
    ...statement(get(X), get(INPUTS), i32(4), mul, add, set(END)),
    ...when(fits(64), repeat(denseBlock(4), fits(64))),
    ...when(fits(16), repeat(denseBlock(1), fits(16))),
  ]
}

const NUMERATOR = [
  -2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-8,
  1.48572235717979e-5, 6.37261928875436e-4, 4.89352455891786e-3,
]
const DENOMINATOR = [1.19825839466702e-6, 1.18534705686654e-4, 2.268434632439e-3, 4.89352518554385e-3]

/** Parameters at, end (0, 1); x, x^2 (2, 3). */
function tanhCode(): Code {
  const [AT, END, VALUE, SQUARE] = [0, 1, 2, 3]
  const horner = (coefficients: readonly number[]): Code => [
    ...constF(coefficients[0]),
    ...coefficients.slice(1).flatMap((c) => [...get(SQUARE), ...mulF, ...constF(c), ...addF]),
  ]
  return repeat(
    [
      ...statement(get(AT), load(), constF(-9), maxF, constF(9), minF, set(VALUE)),
      ...statement(get(VALUE), get(VALUE), mulF, set(SQUARE)),
      ...get(AT),
      ...statement(horner(NUMERATOR), get(VALUE), mulF),
      ...statement(horner(DENOMINATOR), divF),
      ...store(),
      ...advance(AT, i32(16)),
    ],
    [...get(AT), ...get(END), ...lessThan],
  )
}

/** First bytes of a WebAssembly module: "\0asm", version 1. */
const MAGIC = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]

/** One imported memory, two exported functions. */
function moduleBytes(): Uint8Array<ArrayBuffer> {
  const text = (value: string): Code => sized([...Buffer.from(value)])
  const list = (...items: Code[]): Code => [...leb(items.length), ...items.flat()]
  const section = (id: number, body: Code): Code => [id, ...sized(body)]
  const type = (parameters: number): Code => [0x60, ...list(...Array<Code>(parameters).fill([I32])), 0]
  const body = (locals: Code, code: Code): Code => sized([...locals, ...code, 0x0b])
  return Uint8Array.from([
    ...MAGIC,
    ...section(1, list(type(6), type(2))),
    ...section(2, list([...text('m'), ...text('m'), 0x02, 0x00, 0x01])),
    ...section(3, list([0], [1])),
    ...section(7, list([...text('dense'), 0, 0], [...text('tanh'), 0, 1])),
    ...section(10, list(body(list([5, I32], [5, V128]), denseCode()), body(list([2, V128]), tanhCode()))),
  ])
}

function sized(bytes: Code): Code {
  return [...leb(bytes.length), ...bytes]
}

function leb(value: number): number[] {
  const out: number[] = []
  for (let rest = value; ; rest >>>= 7) {
    if (rest < 128) return [...out, rest]
    out.push((rest & 127) | 128)
  }
}

function signedLeb(value: number): number[] {
  const out: number[] = []
  for (let rest = value; ; rest >>= 7) {
    if (rest >= -64 && rest < 64) return [...out, rest & 127]
    out.push((rest & 127) | 128)
  }
}
