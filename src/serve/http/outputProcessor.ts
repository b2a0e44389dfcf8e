import type { Clock } from '../../core/clock.ts'
import type { TextTokenizer } from '../../model/tokenizers/types.ts'
import type { ApiError, PartialOutput } from './errors.ts'
import { StopStringScanner } from './stopStrings.ts'
import type { Backend, CompletionRequest } from './types.ts'

/** How the next token reads depends on those right before it, never on more than a few. */
const PRIMING_TOKENS = 64

/** What an output processor works with. */
interface OutputProcessorOptions {
  readonly backend: Backend
  readonly tokenizer: TextTokenizer
  readonly clock: Clock
  /** Text as it may be shown. */
  readonly onText: (text: string) => void
}

/**
 * The text of one completion under way: tokens become text, and a stop sequence or whoever aborts it ends it. How long it
 * may take, the backend watches (RequestState).
 */
export class OutputProcessor {
  /** All text that was shown. */
  text = ''
  /** How many came. */
  tokens = 0
  firstTokenSeconds: number | null = null
  lastTokenSeconds: number | null = null
  private over = false
  private readonly controller = new AbortController()
  private readonly scanner: StopStringScanner
  private readonly decoder: ReturnType<TextTokenizer['stream']>
  private readonly request: CompletionRequest
  private readonly options: OutputProcessorOptions
  private settle: { resolve: (finish: 'stop' | 'length') => void; reject: (error: unknown) => void } | null =
    null

  constructor(request: CompletionRequest, stops: readonly string[], options: OutputProcessorOptions) {
    this.request = request
    this.options = options
    this.scanner = new StopStringScanner(stops)
    this.decoder = options.tokenizer.stream()
  }

  get partial(): PartialOutput {
    return { text: this.text, tokens: this.tokens }
  }

  /** Resolves once all text was shown; rejects with BackendError, or with what it was aborted with. */
  async run(): Promise<'stop' | 'length'> {
    for (const id of this.request.prompt.slice(-PRIMING_TOKENS)) this.decoder.push(id)
    return await new Promise((resolve, reject) => {
      this.settle = { resolve, reject }
      this.start()
    })
  }

  /** Ends it now; `run` rejects with `error`, and the backend need not have noticed yet. */
  abort(error: ApiError): void {
    this.end(() => this.settle?.reject(error))
  }

  private start(): void {
    const { backend } = this.options
    const listener = { onToken: (id: number) => this.take(id), signal: this.controller.signal }
    // A backend that throws before it promises anything rejects, too.
    const run = async () => backend.complete(this.request, listener)
    run().then(
      ({ finish }) => this.end(() => this.settle?.resolve(finish)),
      (error: unknown) => this.end(() => this.settle?.reject(error)),
    )
  }

  private take(id: number): void {
    if (this.over) return
    this.tokens++
    this.lastTokenSeconds = this.options.clock.nowSeconds()
    this.firstTokenSeconds ??= this.lastTokenSeconds
    this.show(this.scanner.push(this.decoder.push(id)))
    if (this.scanner.done) this.end(() => this.settle?.resolve('stop'))
  }

  /** What was held back is shown: it is the end of the text, or all of it that there will be. */
  private end(settle: () => void): void {
    if (this.over) return
    this.over = true
    try {
      this.show(this.scanner.push(this.decoder.end()) + this.scanner.end())
      settle()
    } catch (error) {
      this.settle?.reject(error)
    }
    this.controller.abort()
  }

  private show(text: string): void {
    if (text === '') return
    this.text += text
    this.options.onText(text)
  }
}
