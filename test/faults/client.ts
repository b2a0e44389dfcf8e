import { request, type IncomingMessage } from 'node:http'

/** What came of one streamed completion. */
export interface Completion {
  readonly text: string
  /** `stop` or `length`; null where the stream did not end. */
  readonly finish: string | null
  /** The code of an error that was answered, or `broken` where the connection ended. */
  readonly error: string | null
}

export interface Asked {
  readonly prompt: string
  readonly maxTokens: number
  /** Idempotency-Key. */
  readonly key?: string
}

interface Event {
  readonly choices?: readonly { readonly text?: string; readonly finish_reason?: string | null }[]
  readonly error?: { readonly code?: string | null; readonly type?: string }
}

/** POST /v1/completions, streamed, greedy. Never rejects. `onText` hears all text so far. */
export function complete(
  port: number,
  asked: Asked,
  onText: (text: string) => void = () => {},
): Promise<Completion> {
  return new Promise((resolve) => {
    let text = ''
    let finish: string | null = null
    let error: string | null = null
    const end = (broken: boolean): void =>
      resolve({ text, finish, error: error ?? (broken ? 'broken' : null) })
    const take = (event: Event): void => {
      if (event.error !== undefined) error = event.error.code ?? event.error.type ?? 'unknown'
      const [choice] = event.choices ?? []
      text += choice?.text ?? ''
      finish = choice?.finish_reason ?? finish
      if (choice?.text) onText(text)
    }
    const body = JSON.stringify({
      model: 'tales',
      prompt: asked.prompt,
      max_tokens: asked.maxTokens,
      temperature: 0,
      stream: true,
    })
    const headers = {
      'content-type': 'application/json',
      'content-length': String(Buffer.byteLength(body)),
      ...(asked.key === undefined ? {} : { 'idempotency-key': asked.key }),
    }
    const outgoing = request(
      { host: '127.0.0.1', port, path: '/v1/completions', method: 'POST', headers, agent: false },
      (answer) => readEvents(answer, take, end),
    )
    outgoing.on('error', () => end(true))
    outgoing.end(body)
  })
}

/** GET of a text; null where nobody answers. */
export function get(port: number, path: string): Promise<{ status: number; text: string } | null> {
  return new Promise((resolve) => {
    const outgoing = request({ host: '127.0.0.1', port, path, agent: false }, (answer) => {
      let text = ''
      answer.on('data', (chunk) => (text += String(chunk)))
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, text }))
      answer.on('error', () => resolve(null))
    })
    outgoing.on('error', () => resolve(null))
    outgoing.end()
  })
}

function readEvents(
  answer: IncomingMessage,
  take: (event: Event) => void,
  end: (broken: boolean) => void,
): void {
  let held = ''
  let done = false
  answer.setEncoding('utf8')
  answer.on('data', (chunk: string) => {
    held += chunk
    const events = held.split('\n\n')
    held = events.pop() ?? ''
    for (const event of events) {
      const data = event.replace(/^data: /, '')
      if (data === '[DONE]') done = true
      else if (data.startsWith('{')) take(JSON.parse(data) as Event)
    }
  })
  answer.on('error', () => end(true))
  answer.on('close', () => {
    if (held.startsWith('{')) take(JSON.parse(held) as Event)
    end(!done)
  })
}
