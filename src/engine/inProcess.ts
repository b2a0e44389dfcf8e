import type { OrtModule, OrtSession } from './convert.ts'
import { checkNames, fromOrt, loadProblem, ortOptions, toOrt } from './convert.ts'
import type {
  Engine,
  EngineInfo,
  Feeds,
  Fetched,
  Resident,
  RunOptions,
  Session,
  SessionOptions,
} from './types.ts'
import { EngineError } from './types.ts'
import { InputError } from '../base/errors.ts'

/** How a model given by its path reaches the runtime. */
export type LoadFile = (path: string) => { model: Uint8Array | string; extra: Record<string, unknown> }

/** Runs graphs with an onnxruntime package loaded in this thread. */
export class InProcessEngine implements Engine {
  readonly info: EngineInfo
  private readonly ort: OrtModule
  private readonly provider: 'cpu' | 'wasm'
  private readonly loadFile: LoadFile
  private readonly open = new Set<InProcessSession>()

  constructor(ort: OrtModule, info: EngineInfo, provider: 'cpu' | 'wasm', loadFile: LoadFile) {
    this.ort = ort
    this.info = info
    this.provider = provider
    this.loadFile = loadFile
  }

  async create(model: Uint8Array | string, options: SessionOptions = {}): Promise<Session> {
    const settings = ortOptions(options, this.provider)
    const source = typeof model === 'string' ? this.loadFile(model) : { model, extra: {} }
    let inner: OrtSession
    try {
      inner = await this.ort.InferenceSession.create(source.model, { ...settings, ...source.extra })
    } catch (error) {
      throw loadProblem(model, error)
    }
    const session = new InProcessSession(this.ort, inner, () => this.open.delete(session))
    this.open.add(session)
    return session
  }

  allocate(): Promise<Resident> {
    return Promise.reject(new EngineError('residents come with the next commit'))
  }

  async close(): Promise<void> {
    for (const session of [...this.open]) await session.dispose()
  }
}

class InProcessSession implements Session {
  readonly inputNames: readonly string[]
  readonly outputNames: readonly string[]
  private readonly ort: OrtModule
  private readonly onDispose: () => void
  private inner: OrtSession | null

  constructor(ort: OrtModule, inner: OrtSession, onDispose: () => void) {
    this.ort = ort
    this.inner = inner
    this.onDispose = onDispose
    this.inputNames = [...inner.inputNames]
    this.outputNames = [...inner.outputNames]
  }

  async run(feeds: Feeds, options: RunOptions = {}): Promise<Fetched> {
    if (this.inner === null) throw new EngineError('the session has been disposed of')
    if (options.timeoutSeconds !== undefined) {
      throw new InputError({
        where: 'run options: timeoutSeconds',
        expected: 'none on this engine',
        found: String(options.timeoutSeconds),
        remedy: "use the 'worker' engine",
      })
    }
    const fetches = options.fetches ?? this.outputNames
    checkNames(this, feeds, fetches)
    try {
      const results = await this.inner.run(toOrt(this.ort, feeds), fetches)
      return Object.fromEntries(fetches.map((name) => [name, fromOrt(results[name])]))
    } catch (error) {
      throw new EngineError(`ONNX Runtime refused to run: ${(error as Error).message}`, { cause: error })
    }
  }

  async dispose(): Promise<void> {
    const { inner } = this
    if (inner === null) return
    this.inner = null
    this.onDispose()
    await inner.release()
  }
}
