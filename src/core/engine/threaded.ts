import { InputError } from '../errors.ts'
import { loadProblem, ortOptions } from './convert.ts'
import { nativeSource } from './external.ts'
import { checkDims, HeldResident } from './resident.ts'
import type { ResidentDims } from './resident.ts'
import type { Engine, EngineInfo, Resident, Session, SessionOptions } from './types.ts'
import { WorkerHome } from './workerHome.ts'
import { WorkerLink } from './workerLink.ts'
import { WorkerSession } from './workerSession.ts'

/**
 * Runs onnxruntime-node in a worker thread, so that a run does not block the event loop.
 * ONNX Runtime cannot cancel a run. After a timeout the worker is abandoned: it exits once the run is over, and the
 * next `create` starts a new worker.
 */
export class WorkerEngine implements Engine {
  readonly info: EngineInfo
  private link: WorkerLink

  private constructor(link: WorkerLink, version: string) {
    this.link = link
    this.info = { kind: 'worker', name: 'onnxruntime-node', version }
  }

  static async start(): Promise<WorkerEngine> {
    const link = new WorkerLink()
    try {
      return new WorkerEngine(link, await link.call('version', {}))
    } catch (error) {
      await link.end('the worker could not load onnxruntime-node')
      throw new InputError(
        {
          where: 'engine worker',
          expected: 'onnxruntime-node with a binary for this platform',
          found: (error as Error).message,
          remedy: "use the 'wasm' engine",
        },
        { cause: error },
      )
    }
  }

  async create(model: Uint8Array | string, options: SessionOptions = {}): Promise<Session> {
    const settings = ortOptions(options, 'cpu')
    nativeSource(model, options)
    if (this.link.ended) this.link = new WorkerLink()
    const { link } = this
    try {
      return new WorkerSession(this, link, await link.call('create', { model, settings }))
    } catch (error) {
      throw link.ended ? error : loadProblem(model, error)
    }
  }

  async allocate([rows, capacity, columns]: ResidentDims): Promise<Resident> {
    const dims: ResidentDims = [rows, capacity, columns]
    checkDims('engine.allocate', dims)
    if (this.link.ended) this.link = new WorkerLink()
    const home = new WorkerHome(this.link)
    await home.ask('allocate', { rows, capacity, columns })
    return new HeldResident(this, dims, home)
  }

  async close(): Promise<void> {
    await this.link.end('the engine was closed')
  }
}
