import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { InputError } from '../../core/errors.ts'
import { floatOfHalf } from '../../core/float16.ts'

/** Supported element types of weights. */
type WeightDtype = 'F32' | 'F16' | 'BF16'

/** Position of a tensor in a file. */
export interface TensorEntry {
  readonly path: string
  /** The file's size when its header was read; the file is refused if it has changed since. */
  readonly fileBytes: number
  readonly dtype: string
  readonly dims: readonly number[]
  /** Offset of the first byte in the file. */
  readonly offset: number
}

/** Named tensors in one or more files; values are read on demand. */
export interface TensorStore {
  /** The file or folder, for error messages. */
  readonly where: string
  readonly entries: ReadonlyMap<string, TensorEntry>
}

const ELEMENT_BYTES: Readonly<Record<WeightDtype, number>> = { F32: 4, F16: 2, BF16: 2 }
/** Bytes read at once for conversion; twice this is needed besides the result. */
const CHUNK_BYTES = 1 << 22
/** Linux reads at most 2 GiB per call. */
const READ_BYTES = 1 << 30

/** Number of elements of a tensor with these dimensions. */
export function elementCount(dims: readonly number[]): number {
  return dims.reduce((product, size) => product * size, 1)
}

/** Reads a tensor as float32. Throws InputError if it is missing, has other dimensions, or is not of a float type. */
export function readTensor(store: TensorStore, name: string, dims: readonly number[]): Float32Array {
  const entry = expectTensor(store, name, dims)
  return readValues(entry, name, 0, elementCount(dims))
}

/** Checks that a tensor exists and has the right shape, without reading it. */
export function expectTensor(store: TensorStore, name: string, dims: readonly number[]): TensorEntry {
  const entry = store.entries.get(name)
  const problem = (expected: string, found: string) =>
    new InputError({
      where: `${entry?.path ?? store.where}: tensor ${name}`,
      expected,
      found,
      remedy: 'the weights must belong to the configuration beside them',
    })
  if (entry === undefined) throw problem(`a tensor [${dims.join(', ')}]`, 'no tensor of this name')
  if (entry.dims.length !== dims.length || entry.dims.some((size, i) => size !== dims[i])) {
    throw problem(`dimensions [${dims.join(', ')}]`, `[${entry.dims.join(', ')}]`)
  }
  if (!(entry.dtype in ELEMENT_BYTES)) {
    throw problem('weights of type F32, F16 or BF16', entry.dtype)
  }
  return entry
}

/** Reads values [from, from + count) of a tensor, row-major, as float32. */
export function readValues(entry: TensorEntry, name: string, from: number, count: number): Float32Array {
  const dtype = entry.dtype as WeightDtype
  const bytes = ELEMENT_BYTES[dtype]
  const file = openUnchanged(entry)
  try {
    const out = new Float32Array(count)
    const at = entry.offset + from * bytes
    if (dtype === 'F32') readExactly(file, new Uint8Array(out.buffer), at, entry.path, name)
    else convertInto(out, dtype, (chunk, done) => readExactly(file, chunk, at + done, entry.path, name))
    return out
  } finally {
    closeSync(file)
  }
}

/** Converts 16-bit values to `out`; `read` returns bytes from an offset on. BF16 is the upper half of a float32. */
function convertInto(
  out: Float32Array,
  dtype: 'F16' | 'BF16',
  read: (chunk: Uint8Array, doneBytes: number) => void,
): void {
  const buffer = new Uint16Array(Math.min(out.length, CHUNK_BYTES / 2))
  const words = new Uint32Array(out.buffer)
  for (let done = 0; done < out.length; done += buffer.length) {
    const bits = buffer.subarray(0, Math.min(buffer.length, out.length - done))
    read(new Uint8Array(bits.buffer, 0, bits.byteLength), 2 * done)
    if (dtype === 'F16') for (let i = 0; i < bits.length; i++) out[done + i] = floatOfHalf(bits[i])
    else for (let i = 0; i < bits.length; i++) words[done + i] = bits[i] << 16
  }
}

function openUnchanged(entry: TensorEntry): number {
  const file = openFile(entry.path)
  const { size } = fstatSync(file)
  if (size === entry.fileBytes) return file
  closeSync(file)
  throw new InputError({
    where: entry.path,
    expected: `${entry.fileBytes} bytes, as when it was opened`,
    found: `${size} bytes`,
    remedy: 'open the model again',
  })
}

/** Opens a file for reading; the caller closes it. */
export function openFile(path: string): number {
  try {
    const file = openSync(path, 'r')
    if (fstatSync(file).isFile()) return file
    closeSync(file)
  } catch (error) {
    throw new InputError(
      {
        where: path,
        expected: 'a readable file',
        found: (error as NodeJS.ErrnoException).code ?? 'an error',
      },
      { cause: error },
    )
  }
  throw new InputError({ where: path, expected: 'a file', found: 'something else' })
}

/** Fills `into` from byte `offset` on. Throws InputError if the file ends before. */
export function readExactly(
  file: number,
  into: Uint8Array,
  offset: number,
  path: string,
  name: string,
): void {
  let done = 0
  while (done < into.byteLength) {
    const read = readSync(file, into, done, Math.min(into.byteLength - done, READ_BYTES), offset + done)
    if (read === 0) {
      throw new InputError({
        where: `${path}: ${name}`,
        expected: `${into.byteLength} bytes from byte ${offset} on`,
        found: `the file's end after ${done} bytes`,
        remedy: 'the file is truncated: copy it again',
      })
    }
    done += read
  }
}
