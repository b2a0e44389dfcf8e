import { CompletionFormatter, usageOf } from './responseFormat.ts'
import type { CompletionParams, CompletionKind } from './completionParams.ts'
import { parseCompletion } from './completionParams.ts'
import { readJson } from './body.ts'
import type { AdmissionController } from './admissionController.ts'
import { ApiError, badRequest } from './errors.ts'
import type { HttpExchange } from './httpExchange.ts'
import { OutputProcessor } from './outputProcessor.ts'
import { newRequestId } from './requestId.ts'
import { MAX_TIMEOUT_SECONDS } from './schemas.ts'

const DEADLINE_HEADER = 'X-Request-Deadline-Seconds'
const KEY_HEADER = 'Idempotency-Key'

/** Answers POST /v1/chat/completions and /v1/completions. Throws what the client is to be told. */
export async function complete(
  admission: AdmissionController,
  exchange: HttpExchange,
  kind: CompletionKind,
  principal: string,
): Promise<void> {
  const leave = admission.admit(exchange, principal)
  try {
    const { backend, tokenizer, chat, random } = admission.options
    const key = keyOf(exchange)
    const headerSeconds = deadlineOf(exchange)
    const body = await readJson(exchange.request, admission.limits.bodyBytes, exchange.signal)
    const asked = parseCompletion(kind, body, {
      model: backend.model,
      tokenizer,
      chat,
      random,
      principal,
      key,
    })
    exchange.streamed = asked.stream
    exchange.promptTokens = asked.prompt.length
    const named = [headerSeconds, asked.timeoutSeconds].filter((one) => one !== null)
    await answer(admission, exchange, asked, {
      key,
      principal,
      deadline: named.length === 0 ? null : Math.min(...named),
    })
  } finally {
    leave()
  }
}

interface RequestTerms {
  readonly key: string | null
  readonly principal: string
  /** Seconds from the request's arrival. */
  readonly deadline: number | null
}

async function answer(
  admission: AdmissionController,
  exchange: HttpExchange,
  asked: CompletionParams,
  terms: RequestTerms,
): Promise<void> {
  const { clock, random, backend } = admission.options
  const created = Math.floor(Date.parse(clock.wallTime()) / 1000)
  const answers = new CompletionFormatter(
    asked.kind,
    newRequestId(random),
    created,
    backend.model,
    asked.includeUsage,
  )
  const { writer: outlet } = exchange
  const stream = asked.stream ? new CompletionStream(exchange, answers) : null
  const generation = newGeneration(admission, asked, terms, exchange, (text) => stream?.text(text))
  exchange.generation = generation
  exchange.signal.addEventListener('abort', () => generation.abort(exchange.signal.reason as ApiError))
  if (stream !== null) {
    outlet.keepAlive()
    admission.metrics.streams.inc()
  }
  try {
    const finish = await generation.run()
    exchange.finish = finish
    const usage = usageOf(asked.prompt.length, generation.tokens)
    if (stream === null) outlet.json(200, answers.whole(generation.text, finish, usage))
    else stream.end(finish, asked.includeUsage ? usage : null)
  } finally {
    if (stream !== null) admission.metrics.streams.dec()
  }
}

/** A completion as a stream of events. The first text is what opens it: until then a failure still has its status. */
class CompletionStream {
  private opened = false
  private readonly exchange: HttpExchange
  private readonly answers: CompletionFormatter

  constructor(exchange: HttpExchange, answers: CompletionFormatter) {
    this.exchange = exchange
    this.answers = answers
  }

  text(text: string): void {
    this.open()
    this.exchange.writer.event(this.answers.piece(text))
  }

  end(finish: 'stop' | 'length', usage: ReturnType<typeof usageOf> | null): void {
    const { writer: outlet } = this.exchange
    this.open()
    outlet.event(this.answers.ending(finish))
    if (usage !== null) outlet.event(this.answers.usage(usage))
    outlet.event('[DONE]')
    outlet.end()
  }

  private open(): void {
    const { opening } = this.answers
    if (!this.opened && opening !== null) this.exchange.writer.event(opening)
    this.opened = true
  }
}

function newGeneration(
  admission: AdmissionController,
  asked: CompletionParams,
  { key, principal, deadline }: RequestTerms,
  exchange: HttpExchange,
  onText: (text: string) => void,
): OutputProcessor {
  const { backend, tokenizer, clock, timers } = admission.options
  const spent = clock.nowSeconds() - exchange.arrivedSeconds
  const total = Math.min(deadline ?? Infinity, admission.limits.requestSeconds)
  const late = lateError(total)
  if (spent >= total) throw late
  const deadlineSeconds = deadline === null ? null : deadline - spent
  const given = { backend, tokenizer, clock, timers, key, principal, onText, late }
  return new OutputProcessor(asked, { ...given, deadlineSeconds, mostSeconds: total - spent })
}

function lateError(seconds: number): ApiError {
  return new ApiError({
    status: 504,
    type: 'timeout_error',
    code: 'deadline_exceeded',
    message: `the request was not done within its ${seconds} s`,
    headers: { 'x-should-retry': 'false' },
  })
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
