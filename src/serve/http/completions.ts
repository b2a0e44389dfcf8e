import { CompletionFormatter, usageOf } from './responseFormat.ts'
import { parseCompletion, type AnswerFormat, type CompletionKind } from './parseCompletion.ts'
import { readJson } from './body.ts'
import type { ApiState } from './apiState.ts'
import { badRequest, type ApiError } from './errors.ts'
import type { HttpExchange } from './httpExchange.ts'
import { OutputProcessor } from './outputProcessor.ts'
import { newRequestId } from './requestId.ts'
import { MAX_TIMEOUT_SECONDS } from './schemas.ts'
import type { CompletionRequest } from './types.ts'

const DEADLINE_HEADER = 'X-Request-Deadline-Seconds'
const KEY_HEADER = 'Idempotency-Key'

/** Answers POST /v1/chat/completions and /v1/completions. Throws what the client is to be told. */
export async function complete(
  api: ApiState,
  exchange: HttpExchange,
  kind: CompletionKind,
  principal: string,
): Promise<void> {
  const leave = api.enter(exchange, principal)
  try {
    const { backend, tokenizer, chat, random } = api.options
    const { arrivedSeconds } = exchange
    const key = keyOf(exchange)
    const deadlineSeconds = deadlineOf(exchange)
    const body = await readJson(exchange.request, api.limits.bodyBytes, exchange.signal)
    const { request, format } = parseCompletion(kind, body, {
      model: backend.model,
      tokenizer,
      chat,
      random,
      principal,
      key,
      arrivedSeconds,
      deadlineSeconds,
    })
    exchange.streamed = format.stream
    exchange.promptTokens = request.prompt.length
    await answer(api, exchange, request, format)
  } finally {
    leave()
  }
}

async function answer(
  api: ApiState,
  exchange: HttpExchange,
  request: CompletionRequest,
  format: AnswerFormat,
): Promise<void> {
  const { backend, tokenizer, clock, random } = api.options
  const created = Math.floor(Date.parse(clock.wallTime()) / 1000)
  const formatter = new CompletionFormatter(
    format.kind,
    newRequestId(random),
    created,
    backend.model,
    format.includeUsage,
  )
  const { writer } = exchange
  const stream = format.stream ? new CompletionStream(exchange, formatter) : null
  const output = new OutputProcessor(request, format.stops, {
    backend,
    tokenizer,
    clock,
    onText: (text) => stream?.text(text),
  })
  exchange.generation = output
  exchange.signal.addEventListener('abort', () => output.abort(exchange.signal.reason as ApiError))
  if (stream !== null) {
    writer.keepAlive()
    api.metrics.streams.inc()
  }
  try {
    const finish = await output.run()
    exchange.finish = finish
    const usage = usageOf(request.prompt.length, output.tokens)
    if (stream === null) writer.json(200, formatter.whole(output.text, finish, usage))
    else stream.end(finish, format.includeUsage ? usage : null)
  } finally {
    if (stream !== null) api.metrics.streams.dec()
  }
}

/** A completion as a stream of events. The first text is what opens it: until then a failure still has its status. */
class CompletionStream {
  private opened = false
  private readonly exchange: HttpExchange
  private readonly formatter: CompletionFormatter

  constructor(exchange: HttpExchange, formatter: CompletionFormatter) {
    this.exchange = exchange
    this.formatter = formatter
  }

  text(text: string): void {
    this.open()
    this.exchange.writer.event(this.formatter.piece(text))
  }

  end(finish: 'stop' | 'length', usage: ReturnType<typeof usageOf> | null): void {
    const { writer } = this.exchange
    this.open()
    writer.event(this.formatter.ending(finish))
    if (usage !== null) writer.event(this.formatter.usage(usage))
    writer.event('[DONE]')
    writer.end()
  }

  private open(): void {
    const { opening } = this.formatter
    if (!this.opened && opening !== null) this.exchange.writer.event(opening)
    this.opened = true
  }
}

function keyOf({ request }: HttpExchange): string | null {
  const key = request.headers[KEY_HEADER.toLowerCase()]
  if (key === undefined) return null
  if (typeof key === 'string' && /^[\x21-\x7e]{1,255}$/.test(key)) return key
  throw badRequest('invalid_value', `${KEY_HEADER}: expected 1 to 255 visible ASCII characters`, KEY_HEADER)
}

function deadlineOf({ request }: HttpExchange): number | null {
  const text = request.headers[DEADLINE_HEADER.toLowerCase()]
  if (text === undefined) return null
  const seconds = typeof text === 'string' && /^\d{1,6}(\.\d{1,6})?$/.test(text) ? Number(text) : 0
  if (seconds > 0 && seconds <= MAX_TIMEOUT_SECONDS) return seconds
  const expected = `a number of seconds, above 0 and up to ${MAX_TIMEOUT_SECONDS}`
  throw badRequest('invalid_value', `${DEADLINE_HEADER}: expected ${expected}`, DEADLINE_HEADER)
}
