import { InputError } from '../errors.ts'

/** Element types that this project reads, writes and runs. Codes are those of onnx.proto, TensorProto.DataType. */
export type DType =
  | 'float32'
  | 'float64'
  | 'float16'
  | 'int8'
  | 'int16'
  | 'int32'
  | 'int64'
  | 'uint8'
  | 'uint16'
  | 'uint32'
  | 'uint64'
  | 'bool'

/** Typed arrays that hold a tensor's elements. */
export type TensorData =
  | Float32Array
  | Float64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | BigInt64Array
  | Uint8Array
  | Uint16Array
  | Uint32Array
  | BigUint64Array

/** A dense row-major tensor. float16 is stored as raw bits in a Uint16Array, bool as 0/1 in a Uint8Array. */
export interface Tensor {
  readonly dtype: DType
  readonly dims: readonly number[]
  readonly data: TensorData
}

interface DTypeInfo {
  code: number
  bytes: number
  array: new (buffer: ArrayBuffer | SharedArrayBuffer, byteOffset: number, length: number) => TensorData
}

/** Element size, array type and onnx.proto code of each element type. */
export const dtypes: Readonly<Record<DType, DTypeInfo>> = {
  float32: { code: 1, bytes: 4, array: Float32Array },
  uint8: { code: 2, bytes: 1, array: Uint8Array },
  int8: { code: 3, bytes: 1, array: Int8Array },
  uint16: { code: 4, bytes: 2, array: Uint16Array },
  int16: { code: 5, bytes: 2, array: Int16Array },
  int32: { code: 6, bytes: 4, array: Int32Array },
  int64: { code: 7, bytes: 8, array: BigInt64Array },
  bool: { code: 9, bytes: 1, array: Uint8Array },
  float16: { code: 10, bytes: 2, array: Uint16Array },
  float64: { code: 11, bytes: 8, array: Float64Array },
  uint32: { code: 12, bytes: 4, array: Uint32Array },
  uint64: { code: 13, bytes: 8, array: BigUint64Array },
}

const byCode = new Map(Object.entries(dtypes).map(([name, info]) => [info.code, name as DType]))

/** The element type of an onnx.proto code; undefined for one that this project does not handle. */
export function dtypeOfCode(code: number): DType | undefined {
  return byCode.get(code)
}

export function isFloat(dtype: DType): boolean {
  return dtype === 'float32' || dtype === 'float64' || dtype === 'float16'
}

/** Number of elements; 1 for a scalar. */
export function sizeOf(dims: readonly number[]): number {
  return dims.reduce((product, dim) => product * dim, 1)
}

/** Wraps `data` in a tensor. Throws InputError if its length or array type does not fit. */
export function tensor(dtype: DType, dims: readonly number[], data: TensorData): Tensor {
  const size = sizeOf(dims)
  if (
    !(data instanceof dtypes[dtype].array) ||
    data.length !== size ||
    dims.some((dim) => !Number.isInteger(dim) || dim < 0)
  ) {
    throw new InputError({
      where: `tensor ${dtype}[${dims.join(', ')}]`,
      expected: `${size} elements in a ${dtypes[dtype].array.name}`,
      found: `${data.length} elements in a ${data.constructor.name}`,
    })
  }
  return { dtype, dims: [...dims], data }
}

/** A tensor of zeros. */
export function zeros(dtype: DType, dims: readonly number[]): Tensor {
  const size = sizeOf(dims)
  const info = dtypes[dtype]
  return tensor(dtype, dims, new info.array(new ArrayBuffer(size * info.bytes), 0, size))
}

/** Creates a tensor from plain numbers, converted to the element type (not float16). */
export function tensorOf(dtype: DType, dims: readonly number[], values: ArrayLike<number>): Tensor {
  if (dtype === 'float16') {
    throw new InputError({
      where: 'tensorOf',
      expected: 'an element type other than float16',
      found: dtype,
      remedy: 'pass raw bits with tensor()',
    })
  }
  const size = sizeOf(dims)
  if (values.length !== size) {
    throw new InputError({
      where: `tensor ${dtype}[${dims.join(', ')}]`,
      expected: `${size} values`,
      found: `${values.length}`,
    })
  }
  const out = zeros(dtype, dims)
  const wide = out.data instanceof BigInt64Array || out.data instanceof BigUint64Array
  for (let i = 0; i < size; i++) out.data[i] = wide ? BigInt(values[i]) : values[i]
  return out
}

/** Creates a scalar (dims []). */
export function scalarOf(dtype: DType, value: number): Tensor {
  return tensorOf(dtype, [], [value])
}

/** The little-endian bytes of a tensor, as a view. */
export function bytesOf(value: Tensor): Uint8Array {
  return new Uint8Array(value.data.buffer as ArrayBuffer, value.data.byteOffset, value.data.byteLength)
}

/** Elements as plain numbers; for small tensors such as shapes and axes. */
export function numbersOf(value: Tensor): number[] {
  return Array.from(value.data as ArrayLike<number | bigint>, Number)
}
