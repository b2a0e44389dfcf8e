import { InputError } from '../errors.ts'
import { sizeOf } from '../onnx/tensor.ts'
import type { Tensor } from '../onnx/tensor.ts'
import type { Engine, Resident, RunOptions } from './types.ts'
import { asEngineError, EngineError } from './types.ts'

/** Shape of a resident. */
export type ResidentDims = readonly [rows: number, capacity: number, columns: number]

/**
 * Stores the memory of one resident, in this thread or in the worker. Carries out operations in the order in which they
 * were requested.
 */
export interface ResidentHome {
  /** Why the memory is gone; undefined while it is there. */
  readonly lost: string | undefined
  enlarge(capacity: number): Promise<void>
  /** Reads positions [from, to): a copy, float32 [rows, to - from, columns]. */
  take(from: number, to: number): Promise<Float32Array>
  /** Writes float32 [rows, n, columns] to positions [at, at + n). */
  put(at: number, n: number, data: Float32Array): Promise<void>
  free(): Promise<void>
}

/** Largest resident in bytes: it lies in one typed array that the runtimes must be able to address. */
const maxBytes = 2 ** 31 - 4

/** Checks every operation on a resident, identically for every ResidentHome. */
export class HeldResident<H extends ResidentHome> implements Resident {
  readonly engine: Engine
  readonly home: H
  private disposed = false
  private failed: string | undefined = undefined
  private shape: ResidentDims

  constructor(engine: Engine, dims: ResidentDims, home: H) {
    this.engine = engine
    this.shape = dims
    this.home = home
  }

  get dims(): ResidentDims {
    return this.shape
  }

  async grow(capacity: number): Promise<void> {
    this.checkUsable('resident.grow')
    const [rows, before, columns] = this.shape
    if (!(capacity >= before)) refuse('resident.grow', `a capacity of at least ${before}`, String(capacity))
    checkDims('resident.grow', [rows, capacity, columns])
    if (capacity === before) return
    this.shape = [rows, capacity, columns]
    try {
      await this.home.enlarge(capacity)
    } catch (error) {
      const problem = asEngineError(error, `no memory for float32 [${this.shape.join(', ')}]`)
      this.failed = problem.message
      throw problem
    }
  }

  async read(from: number, to: number): Promise<Tensor> {
    this.checkUsable('resident.read')
    const [rows, capacity, columns] = this.shape
    if (!(isPosition(from) && isPosition(to) && from <= to && to <= capacity)) {
      refuse('resident.read', `positions in 0..${capacity}, ascending`, `[${from}, ${to})`)
    }
    return { dtype: 'float32', dims: [rows, to - from, columns], data: await this.home.take(from, to) }
  }

  async write(at: number, { dtype, dims, data }: Tensor): Promise<void> {
    this.checkUsable('resident.write')
    const [rows, capacity, columns] = this.shape
    const fits = dims.length === 3 && dims[0] === rows && dims[2] === columns
    if (dtype !== 'float32' || !(data instanceof Float32Array) || !fits || data.length !== sizeOf(dims)) {
      refuse('resident.write', `float32 [${rows}, n, ${columns}]`, `${dtype} [${dims.join(', ')}]`)
    }
    const n = dims[1]
    if (!isPosition(at) || at + n > capacity) {
      refuse('resident.write', `positions in 0..${capacity}`, `[${at}, ${at + n})`)
    }
    await this.home.put(at, n, data)
  }

  async dispose(): Promise<void> {
    if (this.disposed) return
    this.disposed = true
    if (this.home.lost === undefined) await this.home.free()
  }

  /** Throws InputError after dispose, EngineError if the memory was lost with its worker or engine. */
  checkUsable(where: string): void {
    if (this.disposed) refuse(where, 'a resident that is in use', 'one that has been disposed of')
    const lost = this.home.lost ?? this.failed
    if (lost !== undefined) throw new EngineError(`${where}: the resident is lost: ${lost}`)
  }
}

/** Throws InputError unless `dims` can be allocated. */
export function checkDims(where: string, dims: ResidentDims): void {
  const found = `[${dims.join(', ')}]`
  if (dims.length !== 3 || !dims.every((dim) => Number.isSafeInteger(dim) && dim >= 1)) {
    refuse(where, '[rows, capacity, columns], each at least 1', found)
  }
  if (sizeOf(dims) * 4 > maxBytes) refuse(where, `at most ${maxBytes} bytes of float32`, found)
}

/** The homes of a run's residents and of its inserts' targets, in the order of the run's names. */
export interface RunHomes<H> {
  readonly residents: readonly H[]
  readonly targets: readonly H[]
}

/**
 * Looks up the homes of a run's residents and inserts. Throws InputError for a resident that belongs to another engine,
 * was disposed of, or would be written past its capacity, and EngineError for one that is lost.
 */
export function homesOf<H extends ResidentHome>(
  engine: Engine,
  names: readonly string[],
  { residents, inserts }: RunOptions,
): RunHomes<H> {
  const homes: RunHomes<H> & { residents: H[]; targets: H[] } = { residents: [], targets: [] }
  if (residents !== undefined) {
    for (const name of names) homes.residents.push(usable<H>(engine, residents[name], name).home)
  }
  if (inserts !== undefined) {
    for (const { output, into, at } of inserts) {
      const held = usable<H>(engine, into, output)
      if (!isPosition(at) || at > held.dims[1]) {
        refuse(`insert of ${output}`, `a position in 0..${held.dims[1]}`, String(at))
      }
      homes.targets.push(held.home)
    }
  }
  return homes
}

function usable<H extends ResidentHome>(engine: Engine, resident: Resident, name: string): HeldResident<H> {
  if (!(resident instanceof HeldResident) || resident.engine !== engine) {
    refuse(`resident of ${name}`, 'one that this engine allocated', "another engine's")
  }
  const held = resident as HeldResident<H>
  held.checkUsable(`resident of ${name}`)
  return held
}

function isPosition(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0
}

function refuse(where: string, expected: string, found: string): never {
  throw new InputError({ where, expected, found })
}
