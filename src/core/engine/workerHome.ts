import type { TensorData } from '../onnx/tensor.ts'
import type { ResidentHome } from './resident.ts'
import { asEngineError } from './types.ts'
import type { WorkerLink } from './workerLink.ts'
import type { Operations } from './workerProtocol.ts'

/** Operations on one resident. */
type ResidentOperation = 'allocate' | 'grow' | 'read' | 'write' | 'free'

/** Refers to a resident in the worker by its number. */
export class WorkerHome implements ResidentHome {
  readonly link: WorkerLink
  readonly resident: number

  constructor(link: WorkerLink) {
    this.link = link
    this.resident = link.residents++
  }

  get lost(): string | undefined {
    return this.link.ended ? this.link.reason : undefined
  }

  async enlarge(capacity: number): Promise<void> {
    await this.ask('grow', { capacity })
  }

  take(from: number, to: number): Promise<Float32Array> {
    return this.ask('read', { from, to })
  }

  async put(at: number, n: number, data: Float32Array): Promise<void> {
    await this.ask('write', { at, n, data: alone(data) })
  }

  async free(): Promise<void> {
    await this.ask('free', {})
  }

  async ask<K extends ResidentOperation>(
    op: K,
    body: Omit<Operations[K]['asked'], 'resident'>,
  ): Promise<Operations[K]['answered']> {
    try {
      return await this.link.call(op, { resident: this.resident, ...body })
    } catch (error) {
      throw asEngineError(error, `the worker refused to ${op} a resident`)
    }
  }
}

/** Copies a view of part of a buffer: posting the view itself would send the whole buffer. */
export function alone<T extends TensorData>(data: T): T {
  return data.byteLength < data.buffer.byteLength ? (data.slice() as T) : data
}
