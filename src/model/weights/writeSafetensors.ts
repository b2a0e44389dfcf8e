import { writeAtomic } from '../../core/files.ts'
import { halfOfFloat } from '../../core/float16.ts'
import { elementCount } from './tensorFile.ts'

/** One tensor to write: row-major float32 values, stored as `dtype`. */
export interface TensorToWrite {
  readonly name: string
  readonly dims: readonly number[]
  readonly data: Float32Array
  readonly dtype: 'F32' | 'F16'
}

/**
 * Writes a safetensors file atomically. It is built in memory, so this is for small models. Throws RangeError for a
 * repeated name, data that does not match its dimensions, or a value that F16 cannot hold.
 */
export function writeSafetensors(path: string, tensors: readonly TensorToWrite[]): void {
  writeAtomic(path, encodeSafetensors(tensors))
}

/** Encodes tensors as a safetensors file. */
function encodeSafetensors(tensors: readonly TensorToWrite[]): Uint8Array {
  const header: Record<string, unknown> = Object.create(null) as Record<string, unknown>
  header.__metadata__ = { format: 'pt' }
  let end = 0
  for (const tensor of tensors) {
    const { name, dims, data, dtype } = tensor
    if (name in header) throw new RangeError(`tensor ${name}: expected every name once`)
    if (elementCount(dims) !== data.length) {
      throw new RangeError(`tensor ${name}: expected ${elementCount(dims)} values, found ${data.length}`)
    }
    const begin = end
    end += data.length * (dtype === 'F32' ? 4 : 2)
    header[name] = { dtype, shape: dims, data_offsets: [begin, end] }
  }
  const json = Buffer.from(JSON.stringify(header))
  // Padded with spaces to a multiple of 8 bytes, so that the data is aligned.
  const length = Math.ceil(json.length / 8) * 8
  const out = Buffer.alloc(8 + length + end, ' ')
  out.writeBigUInt64LE(BigInt(length))
  json.copy(out, 8)
  let at = 8 + length
  for (const tensor of tensors) at += putValues(out, at, tensor)
  return out
}

function putValues(out: Buffer, at: number, { name, data, dtype }: TensorToWrite): number {
  if (dtype === 'F32') {
    out.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at)
    return data.byteLength
  }
  const bits = new Uint16Array(data.length)
  for (let i = 0; i < data.length; i++) {
    bits[i] = halfOfFloat(data[i])
    if ((bits[i] & 0x7fff) === 0x7c00 && Number.isFinite(data[i])) {
      throw new RangeError(`tensor ${name}: expected values that F16 holds (below 65,520), found ${data[i]}`)
    }
  }
  out.set(new Uint8Array(bits.buffer), at)
  return bits.byteLength
}
