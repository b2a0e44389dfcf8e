import type { OrtModule, OrtTensor } from './convert.ts'
import { ResidentArray } from './residentArray.ts'
import type { ResidentDims, ResidentHome } from './resident.ts'

/** Runs operations on residents one after the other, in the order in which they were requested. */
export class Sequence {
  /** Why operations are refused after the engine was closed; undefined before. */
  ended: string | undefined = undefined
  private tail: Promise<unknown> = Promise.resolve()

  next<T>(step: () => T | Promise<T>): Promise<T> {
    const done = this.tail.then(step)
    this.tail = done.catch(() => undefined)
    return done
  }
}

/** A resident in this thread's memory, whose operations run in turn with the engine's runs. */
export class ResidentMemory implements ResidentHome {
  private readonly array: ResidentArray
  private readonly sequence: Sequence

  constructor(ort: OrtModule, sequence: Sequence, dims: ResidentDims) {
    this.sequence = sequence
    this.array = new ResidentArray(ort, dims)
  }

  get tensor(): OrtTensor {
    return this.array.tensor
  }

  get lost(): string | undefined {
    return this.sequence.ended
  }

  enlarge(capacity: number): Promise<void> {
    return this.sequence.next(() => this.array.grow(capacity))
  }

  take(from: number, to: number): Promise<Float32Array> {
    return this.sequence.next(() => this.array.read(from, to))
  }

  put(at: number, n: number, data: Float32Array): Promise<void> {
    const copy = data.slice()
    return this.sequence.next(() => this.array.insert(copy, n, at))
  }

  free(): Promise<void> {
    return this.sequence.next(() => this.array.free())
  }

  /** ResidentArray.checkInsert, within a run. */
  checkInsert(output: string, value: OrtTensor, at: number): number {
    return this.array.checkInsert(output, value, at)
  }

  /** ResidentArray.insert, within a run. */
  insert(value: Float32Array, n: number, at: number): void {
    this.array.insert(value, n, at)
  }
}
