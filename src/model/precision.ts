import { z } from 'zod'
import { InputError, show } from '../core/errors.ts'

/**
 * Number formats of a device's weights. fp16 is known from data sheets alone: this runtime has no fp16 graphs.
 * The word says what the matrices have; embedding, norms and biases are float32 at every one of the runtime's.
 */
export const PRECISIONS = ['fp32', 'fp16', 'int8', 'int4'] as const
export type Precision = (typeof PRECISIONS)[number]

/**
 * Precisions that the runtime has graphs for, and so can measure and run. int8: dynamically quantised products with
 * one scale for the activations of all rows, so that a token's result depends a little on the tokens beside it.
 * int4: MatMulNBits, blocks of 32, each row alone; the head has 8 bits.
 */
export const RUNTIME_PRECISIONS = ['fp32', 'int8', 'int4'] as const satisfies readonly Precision[]
export type RuntimePrecision = (typeof RUNTIME_PRECISIONS)[number]

/** Bytes of one weight of a matrix, scales left out. */
export const BYTES_PER_WEIGHT: Readonly<Record<Precision, number>> = { fp32: 4, fp16: 2, int8: 1, int4: 0.5 }

/** Bytes of one weight of a matrix as the runtime stores it: int4 has a float32 scale for 32 weights of a column. */
export function storedBytesPerWeight(precision: Precision): number {
  return BYTES_PER_WEIGHT[precision] + (precision === 'int4' ? 4 / 32 : 0)
}

export const precisionSchema = z.enum(PRECISIONS)
export const runtimePrecisionSchema = z.enum(RUNTIME_PRECISIONS)

/** Reads a precision of the runtime, e.g. of `--precision`. Throws InputError naming `where` and what there is. */
export function parseRuntimePrecision(text: string, where: string): RuntimePrecision {
  return parse(text, where, RUNTIME_PRECISIONS)
}

/** Reads any precision, fp16 of the data sheets among them. Throws InputError. */
export function parsePrecision(text: string, where: string): Precision {
  return parse(text, where, PRECISIONS)
}

function parse<P extends Precision>(text: string, where: string, known: readonly P[]): P {
  const found = known.find((precision) => precision === text)
  if (found !== undefined) return found
  throw new InputError({ where, expected: `one of ${known.join(', ')}`, found: show(text) })
}
