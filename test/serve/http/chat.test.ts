import OpenAI from 'openai'
import { afterEach, describe, expect, it } from 'vitest'
import { BackendError } from '../../../src/serve/http/types.ts'
import { chatTemplate } from '../../../src/model/tokenizers/chat.ts'
import { bytesOf, closeAll, hello, ScriptedBackend, serve, STOP_ID, tokenizer, until } from './support.ts'

afterEach(closeAll)

async function collect<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const one of stream) all.push(one)
  return all
}

describe('a chat', () => {
  it('is answered as OpenAI answers', async () => {
    const { client, backend, records } = await serve()
    const answer = await client.chat.completions.create(hello)
    expect(answer).toMatchObject({
      object: 'chat.completion',
      model: 'scripted',
      system_fingerprint: 'fp_abababababab',
      choices: [{ index: 0, finish_reason: 'stop', message: { role: 'assistant', content: ' world' } }],
      usage: { prompt_tokens: 1, completion_tokens: 7, total_tokens: 8 },
    })
    expect(answer.id).toMatch(/^chatcmpl-\w{24}$/)
    expect(Math.abs(answer.created - Date.now() / 1000)).toBeLessThan(3600)
    expect(answer._request_id).toMatch(/^req_\w{24}$/)
    expect(backend.requests[0]).toMatchObject({
      prompt: tokenizer.encode('hello'),
      maxNewTokens: 255,
      sampling: { temperature: 1, topP: 1, topK: 0 },
      key: null,
      deadlineSeconds: null,
      principal: 'anonymous',
    })
    await until(() => records.length === 1)
    expect(records[0]).toMatchObject({
      id: answer._request_id,
      route: '/v1/chat/completions',
      principal: 'anonymous',
      status: 200,
      error: null,
      streamed: false,
      promptTokens: 1,
      completionTokens: 7,
      finish: 'stop',
    })
    expect(records[0].ttftSeconds).toBeLessThanOrEqual(records[0].seconds)
  })

  it('streams: the role first, then text, the reason, and the usage where asked for', async () => {
    const { client, records } = await serve()
    const stream = await client.chat.completions.create({
      ...hello,
      stream: true,
      stream_options: { include_usage: true },
    })
    const chunks = await collect(stream)
    expect(chunks[0].choices[0].delta).toEqual({ role: 'assistant', content: '' })
    expect(chunks.slice(1, -2).map((chunk) => chunk.choices[0].delta.content)).toEqual(Array.from(' world'))
    expect(chunks.at(-2)!.choices[0]).toMatchObject({ delta: {}, finish_reason: 'stop' })
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { prompt_tokens: 1, total_tokens: 8 } })
    expect(chunks.slice(0, -1).every((chunk) => chunk.usage === null)).toBe(true)
    expect(new Set(chunks.map((chunk) => `${chunk.object} ${chunk.id}`)).size).toBe(1)
    await until(() => records.length === 1)
    expect(records[0]).toMatchObject({ streamed: true, status: 200, completionTokens: 7 })
  })

  it('streams no usage that was not asked for, and what it streams is what it answers', async () => {
    const { client } = await serve()
    const chunks = await collect(await client.chat.completions.create({ ...hello, stream: true }))
    expect(chunks.every((chunk) => chunk.usage === undefined)).toBe(true)
    const whole = await client.chat.completions.create(hello)
    expect(chunks.map((chunk) => chunk.choices[0].delta.content ?? '').join('')).toBe(
      whole.choices[0].message.content,
    )
  })

  it('ends for length as soon as there are as many tokens as were asked for', async () => {
    const { client } = await serve()
    for (const limit of [{ max_tokens: 3 }, { max_completion_tokens: 3 }]) {
      const { choices, usage } = await client.chat.completions.create({ ...hello, ...limit })
      expect(choices[0]).toMatchObject({ finish_reason: 'length', message: { content: ' wo' } })
      expect(usage!.completion_tokens).toBe(3)
    }
  })

  it('hands sampling on; the same key draws the same seed, no key another one', async () => {
    const { client, backend } = await serve()
    const sampling = { temperature: 0.5, top_p: 0.9, seed: 7, top_k: 40 }
    await client.chat.completions.create({ ...hello, ...sampling })
    expect(backend.requests[0].sampling).toEqual({ temperature: 0.5, topP: 0.9, topK: 40, seed: 7 })
    const negative = { seed: -1 }
    await client.chat.completions.create({ ...hello, ...negative })
    expect(backend.requests[1].sampling.seed).toBe(Number.MAX_SAFE_INTEGER)
    for (const key of ['a', 'a', 'b']) {
      await client.chat.completions.create(hello, { headers: { 'Idempotency-Key': key } })
    }
    await client.chat.completions.create(hello)
    await client.chat.completions.create(hello)
    const seeds = backend.requests.slice(2).map((request) => request.sampling.seed)
    expect(seeds[0]).toBe(seeds[1])
    expect(new Set(seeds).size).toBe(4)
    expect(backend.requests.slice(2).map(({ key }) => key)).toEqual(['a', 'a', 'b', null, null])
  })

  it('has characters of several tokens whole', async () => {
    const backend = new ScriptedBackend()
    const text = 'é \u{1f600} \u0800!'
    backend.script = () => bytesOf(text)
    const { client } = await serve({}, backend)
    const chunks = await collect(await client.chat.completions.create({ ...hello, stream: true }))
    const pieces = chunks.flatMap((chunk) => chunk.choices[0].delta.content ?? [])
    expect(pieces.join('')).toBe(text)
    expect(pieces.some((piece) => piece.includes('\ufffd'))).toBe(false)
    expect(bytesOf(text).length).toBeGreaterThan(Array.from(text).length)
  })

  it("becomes a prompt by the model's template; parts are joined, developers are the system", async () => {
    const template = '{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}'
    const { client, backend } = await serve({ chat: chatTemplate(template, 'test') })
    await client.chat.completions.create({
      model: 'scripted',
      messages: [
        { role: 'developer', content: 'short' },
        {
          role: 'user',
          content: [
            { type: 'text', text: 'a' },
            { type: 'text', text: 'b' },
          ],
        },
      ],
    })
    expect(tokenizer.decode(backend.requests[0].prompt)).toBe('[system]short[user]ab')
  })

  it('is refused with 400 where the template refuses it', async () => {
    const { client } = await serve({ chat: chatTemplate("{{ raise_exception('roles!') }}", 'test') })
    await expect(client.chat.completions.create(hello)).rejects.toThrow(/messages.*roles!/)
    await expect(client.chat.completions.create(hello)).rejects.toBeInstanceOf(OpenAI.BadRequestError)
  })
})

describe('stop sequences', () => {
  it('end a text across tokens and are no part of it', async () => {
    const { client, backend } = await serve()
    for (const stream of [false, true]) {
      const create = { ...hello, stop: ['orl', 'zzz'] }
      const text = stream
        ? (await collect(await client.chat.completions.create({ ...create, stream: true })))
            .map((chunk) => chunk.choices[0].delta.content ?? '')
            .join('')
        : (await client.chat.completions.create(create)).choices[0].message.content
      expect(text).toBe(' w')
    }
    await until(() => backend.running === 0)
    expect(backend.aborted).toBe(2)
  })

  it('count the tokens that were generated for them', async () => {
    const { client } = await serve()
    const { usage, choices } = await client.chat.completions.create({ ...hello, stop: 'rl' })
    expect(choices[0].finish_reason).toBe('stop')
    expect(usage!.completion_tokens).toBe(5)
  })

  it('that only begin are shown in the end', async () => {
    const { client } = await serve()
    const { choices } = await client.chat.completions.create({ ...hello, stop: 'ld!' })
    expect(choices[0].message.content).toBe(' world')
  })
})

describe('a completion', () => {
  it('continues a string, a list of one, or ids; 16 tokens by default', async () => {
    const { client, backend } = await serve()
    const ids = tokenizer.encode('hello')
    for (const prompt of ['hello', ['hello'], ids, [ids]] as string[]) {
      const answer = await client.completions.create({ model: 'scripted', prompt })
      expect(answer).toMatchObject({
        object: 'text_completion',
        choices: [{ text: ' world', index: 0, finish_reason: 'stop', logprobs: null }],
        usage: { prompt_tokens: 1, completion_tokens: 7 },
      })
      expect(answer.id).toMatch(/^cmpl-/)
    }
    expect(backend.requests.every(({ maxNewTokens }) => maxNewTokens === 16)).toBe(true)
    expect(backend.requests.map(({ prompt }) => [...prompt])).toEqual([ids, ids, ids, ids])
  })

  it('streams', async () => {
    const { client } = await serve()
    const stream = await client.completions.create({ model: 'scripted', prompt: 'hello', stream: true })
    const chunks = await collect(stream)
    expect(chunks.map((chunk) => chunk.choices[0].text).join('')).toBe(' world')
    expect(chunks.at(-1)!.choices[0].finish_reason).toBe('stop')
    expect(chunks.every((chunk) => chunk.object === 'text_completion')).toBe(true)
  })
})

describe('what fails after some tokens', () => {
  const failing = () => {
    const backend = new ScriptedBackend()
    backend.script = () => [...bytesOf(' wor'), new BackendError('E_UNAVAILABLE', 'the link is down')]
    return backend
  }

  it('keeps them in the error', async () => {
    const { client, records } = await serve({}, failing())
    const error: unknown = await client.chat.completions.create(hello).catch((caught: unknown) => caught)
    expect(error).toBeInstanceOf(OpenAI.InternalServerError)
    expect(error).toMatchObject({ status: 503, code: 'unavailable' })
    expect((error as { error: object }).error).toMatchObject({ partial: { text: ' wor', tokens: 4 } })
    const response = await fetch(`${client.baseURL}/chat/completions`, {
      method: 'POST',
      body: JSON.stringify(hello),
      headers: { 'content-type': 'application/json' },
    })
    expect(await response.json()).toMatchObject({
      error: {
        message: 'the link is down',
        type: 'server_error',
        param: null,
        code: 'unavailable',
        partial: { text: ' wor', tokens: 4 },
      },
    })
    expect(response.headers.get('retry-after')).toBe('1')
    await until(() => records.length === 2)
    expect(records[0]).toMatchObject({ status: 503, error: 'unavailable', completionTokens: 4, finish: null })
  })

  it('ends a stream with an error event, after what might have been a stop sequence', async () => {
    const { client, records } = await serve({}, failing())
    const stream = await client.chat.completions.create({ ...hello, stream: true, stop: 'r!' })
    let text = ''
    const read = async () => {
      for await (const chunk of stream) text += chunk.choices[0].delta.content ?? ''
    }
    await expect(read()).rejects.toThrow('the link is down')
    expect(text).toBe(' wor')
    await until(() => records.length === 1)
    expect(records[0]).toMatchObject({ status: 503, streamed: true, completionTokens: 4 })
  })

  it('has its status where the stream had not begun', async () => {
    const backend = new ScriptedBackend()
    backend.script = () => [new BackendError('E_BUSY', 'the queue is full')]
    const { client } = await serve({}, backend)
    await expect(client.chat.completions.create({ ...hello, stream: true })).rejects.toBeInstanceOf(
      OpenAI.RateLimitError,
    )
  })
})

it('a stop token that reads as text in between is none of the text', async () => {
  const backend = new ScriptedBackend()
  backend.script = () => [STOP_ID]
  const { client } = await serve({}, backend)
  const { choices, usage } = await client.chat.completions.create(hello)
  expect(choices[0].message.content).toBe('')
  expect(usage!.completion_tokens).toBe(1)
})
