import { InputError } from '../errors.ts'
import { inferArithmetic } from './inferArithmetic.ts'
import { inferLayout } from './inferLayout.ts'
import { showDims } from './dims.ts'
import type { Attribute, Dim } from './proto.ts'
import type { DType, Tensor } from './tensor.ts'
import { numbersOf } from './tensor.ts'

/** Type and shape of one output. */
export interface OutputSpec {
  dtype: DType
  dims: readonly Dim[]
}

/** The node whose output shapes are to be inferred. */
interface InferRequest {
  opType: string
  where: string
  inputs: readonly (ValueSpec | null)[]
  attributes: Readonly<Record<string, Attribute>>
  /** Number of requested outputs. */
  outputs: number
  /** The value of an input if it is a constant, otherwise undefined. */
  constant: (name: string) => Tensor | undefined
}

interface ValueSpec extends OutputSpec {
  name: string
}

/** What a rule sees of a node: checked access to inputs and attributes. */
export class InferContext {
  readonly request: InferRequest

  constructor(request: InferRequest) {
    this.request = request
  }

  has(index: number): boolean {
    return (this.request.inputs[index] ?? null) !== null
  }

  input(index: number): OutputSpec {
    const found = this.request.inputs[index] ?? null
    if (found === null) throw this.fail(`an input ${index}`, 'none')
    return found
  }

  /** Values of a constant input as plain numbers. */
  numbers(index: number): number[] {
    this.input(index)
    const value = this.request.constant(this.request.inputs[index]!.name)
    if (value === undefined)
      throw this.fail(`a constant input ${index}`, 'a computed value', 'give outputs explicitly')
    return numbersOf(value)
  }

  int(name: string, fallback: number): number {
    const found = this.request.attributes[name]
    if (found === undefined) return fallback
    if (found.type !== 'int') throw this.fail(`an integer attribute ${name}`, found.type)
    return Number(found.value)
  }

  ints(name: string): number[] | undefined {
    const found = this.request.attributes[name]
    if (found === undefined) return undefined
    if (found.type !== 'ints') throw this.fail(`an integer list ${name}`, found.type)
    return found.value.map(Number)
  }

  fail(expected: string, found: string, remedy?: string): InputError {
    return new InputError({
      where: this.request.where,
      expected,
      found,
      ...(remedy === undefined ? {} : { remedy }),
    })
  }

  /** The input shapes for an error message. */
  shapes(): string {
    return this.request.inputs
      .map((input) => (input === null ? '-' : `${input.dtype}${showDims(input.dims)}`))
      .join(', ')
  }
}

/** Infers the types and shapes of one node's outputs. */
export type InferRule = (context: InferContext) => OutputSpec[]

const rules: Readonly<Record<string, InferRule>> = { ...inferArithmetic, ...inferLayout }

/**
 * Infers the types and shapes of a node's outputs. Throws InputError for an unknown operator or inputs that do not fit.
 */
export function inferOutputs(request: InferRequest): OutputSpec[] {
  const context = new InferContext(request)
  if (!Object.hasOwn(rules, request.opType)) {
    throw context.fail(
      'an operator with a shape rule',
      request.opType,
      'give the types and shapes of its outputs',
    )
  }
  return rules[request.opType](context)
}
