import fc from 'fast-check'
import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { BackendError } from '../../../src/serve/http/types.ts'
import type { BackendCode } from '../../../src/serve/http/types.ts'
import { ask, CHAT, closeAll, hello, post, raw, serve, TEXT } from './support.ts'
import type { Served } from './support.ts'

let served: Served
beforeAll(async () => {
  served = await serve()
})
afterAll(closeAll)

const chat = (over: object) => post(served.server, CHAT, { ...hello, ...over })
const text = (over: object) => post(served.server, TEXT, { model: 'scripted', prompt: 'hello', ...over })

describe('a parameter', () => {
  it.each([
    [{ messages: [] }, 'messages'],
    [{ messages: undefined }, 'messages'],
    [{ messages: 'hello' }, 'messages'],
    [{ messages: [{ role: 'tool', content: 'x' }] }, 'messages[0].role'],
    [{ messages: [{ role: 'user', content: null }] }, 'messages[0].content'],
    [{ messages: [{ role: 'user', content: [{ type: 'image_url' }] }] }, 'messages[0].content'],
    [{ model: undefined }, 'model'],
    [{ temperature: 2.1 }, 'temperature'],
    [{ temperature: '1' }, 'temperature'],
    [{ top_p: -0.1 }, 'top_p'],
    [{ top_k: 1.5 }, 'top_k'],
    [{ seed: 1e300 }, 'seed'],
    [{ max_tokens: 0 }, 'max_tokens'],
    [{ max_completion_tokens: -1 }, 'max_completion_tokens'],
    [{ stop: ['a', 'b', 'c', 'd', 'e'] }, 'stop'],
    [{ stop: '' }, 'stop'],
    [{ stop: 'x'.repeat(257) }, 'stop'],
    [{ stream: 'yes' }, 'stream'],
    [{ stream_options: { include_usage: true } }, 'stream_options'],
    [{ timeout: 0 }, 'timeout'],
  ])('that is wrong is told by its name: %j', async (over, param) => {
    const { status, json } = await chat(over)
    expect(status).toBe(400)
    expect(json.error).toMatchObject({ type: 'invalid_request_error', code: 'invalid_value', param })
    expect(json.error.message).toContain(param)
  })

  it.each([
    { n: 2 },
    { logprobs: true },
    { top_logprobs: 2 },
    { tools: [{ type: 'function' }] },
    { tool_choice: 'required' },
    { response_format: { type: 'json_object' } },
    { logit_bias: { 5: 1 } },
    { presence_penalty: 1 },
    { frequency_penalty: -1 },
    { modalities: ['audio'] },
    { functions: [{}] },
  ])('that would change the answer is refused: %j', async (over) => {
    const { status, json } = await chat(over)
    expect(status).toBe(400)
    expect(json.error).toMatchObject({ code: 'unsupported_parameter', param: Object.keys(over)[0] })
  })

  it.each([{ echo: true }, { best_of: 2 }, { suffix: 'x' }, { logprobs: 0 }])(
    'of completions that would change the answer is refused: %j',
    async (over) => {
      expect((await text(over)).json.error).toMatchObject({ code: 'unsupported_parameter' })
    },
  )

  it('that asks for nothing, that is null or that nobody knows is taken', async () => {
    const nothing = {
      n: 1,
      logprobs: false,
      tools: [],
      tool_choice: 'auto',
      response_format: { type: 'text' },
      presence_penalty: 0,
      logit_bias: {},
      user: 'me',
      modalities: ['text'],
      metadata: { a: 'b' },
      temperature: null,
      stop: null,
      seed: null,
      max_tokens: null,
      stream_options: null,
      from_elsewhere: 1,
    }
    expect((await chat(nothing)).status).toBe(200)
    expect((await text({ n: 1, best_of: 1, echo: false, suffix: null, logprobs: null })).status).toBe(200)
  })

  it.each([
    [[], 'prompt'],
    [['a', 'b'], 'prompt'],
    [[[1], [2]], 'prompt'],
    [[1, 'a'], 'prompt'],
    [[-1], 'prompt[0]'],
    [[5, 1e6], 'prompt[1]'],
    ['', 'prompt'],
    [7, 'prompt'],
  ])('prompt that is none: %j', async (prompt, param) => {
    const { status, json } = await text({ prompt })
    expect(status).toBe(400)
    expect(json.error.param).toBe(param)
  })
})

describe('the context', () => {
  it('bounds prompt and completion together; the error names both numbers', async () => {
    const limit = { max_tokens: 256 }
    const error: unknown = await served.client.chat.completions
      .create({ ...hello, ...limit })
      .catch((caught: unknown) => caught)
    expect(error).toBeInstanceOf(OpenAI.BadRequestError)
    expect(error).toMatchObject({ code: 'context_length_exceeded', param: 'messages' })
    expect((error as Error).message).toMatch(/256 tokens.*requested 257 tokens \(1 in the messages, 256 in/)
    expect((await chat({ max_tokens: 255 })).status).toBe(200)
  })

  it('is exceeded by a prompt that fills it, and by one too long to be taken apart', async () => {
    expect((await text({ prompt: 'x'.repeat(256) })).json.error.message).toMatch(/requested 272 tokens/)
    expect((await text({ prompt: 'x'.repeat(256), max_tokens: null })).status).toBe(400)
    const full = await chat({ messages: [{ role: 'user', content: 'x'.repeat(256) }] })
    expect(full.json.error).toMatchObject({ code: 'context_length_exceeded' })
    const long = await text({ prompt: 'x'.repeat(100_000) })
    expect(long.json.error).toMatchObject({ code: 'context_length_exceeded', param: 'prompt' })
    expect(long.json.error.message).toMatch(/256 tokens.*100000 characters/)
  })
})

describe('a request', () => {
  it.each([
    ['{', 'invalid_json'],
    ['', 'invalid_json'],
    ['[]', 'invalid_body'],
    ['null', 'invalid_body'],
    ['"x"', 'invalid_body'],
    ['['.repeat(200_000), 'invalid_json'],
    [`${'['.repeat(100_000)}${']'.repeat(100_000)}`, 'invalid_body'],
  ])('whose body is no object of JSON gets 400: %.20s', async (body, code) => {
    const { status, json } = await post(served.server, CHAT, body)
    expect([status, json.error.code]).toEqual([400, code])
  })

  it('whose body is no UTF-8 gets 400', async () => {
    const body = Uint8Array.of(0x7b, 0xff, 0x7d)
    const headers = { 'content-type': 'application/json' }
    const { status, json } = await ask(served.server, CHAT, { method: 'POST', body, headers })
    expect([status, json.error.code]).toEqual([400, 'invalid_json'])
  })

  it('that is too large gets 413, at once or after it was sent', async () => {
    const { status, json } = await post(served.server, CHAT, 'x'.repeat(1024 * 1024 + 1))
    expect([status, json.error.code]).toEqual([413, 'body_too_large'])
    const socket = await raw(
      served.server,
      `POST ${CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n`,
    )
    await new Promise((resolve) => socket.once('data', resolve))
    expect(socket.heard()).toMatch(/^HTTP\/1.1 413 /)
    socket.destroy()
  })

  it('of another type gets 415: no page can make a browser send one unasked', async () => {
    for (const type of [
      'text/plain',
      'application/x-www-form-urlencoded',
      'application/json; charset=latin1',
      '',
    ]) {
      const { status, json } = await post(served.server, CHAT, hello, { 'content-type': type })
      expect([status, json.error.code]).toEqual([415, 'unsupported_media_type'])
    }
    expect((await post(served.server, CHAT, hello, { 'content-encoding': 'gzip' })).status).toBe(415)
    const utf8 = { 'content-type': 'Application/JSON; charset="UTF-8"' }
    expect((await post(served.server, CHAT, hello, utf8)).status).toBe(200)
  })

  it('for another model gets 404, for no path 404, by another method 405', async () => {
    const wrong = served.client.chat.completions.create({ ...hello, model: 'gpt-5' })
    await expect(wrong).rejects.toMatchObject({ status: 404, code: 'model_not_found', param: 'model' })
    expect((await ask(served.server, '/v1/embeddings')).json.error.code).toBe('unknown_url')
    expect((await ask(served.server, '/v1/models/{id}')).status).toBe(404)
    const method = await ask(served.server, CHAT)
    expect([method.status, method.headers.get('allow')]).toEqual([405, 'POST'])
    expect((await ask(served.server, CHAT, { method: 'OPTIONS' })).status).toBe(405)
  })

  it.each([
    ['X-Request-Deadline-Seconds', '-1'],
    ['X-Request-Deadline-Seconds', 'soon'],
    ['X-Request-Deadline-Seconds', '0'],
    ['Idempotency-Key', ' '],
    ['Idempotency-Key', 'a b'],
    ['Idempotency-Key', 'k'.repeat(256)],
  ])('with a wrong header gets 400: %s: %s', async (name, value) => {
    const { status, json } = await post(served.server, CHAT, hello, { [name]: value })
    expect([status, json.error.param]).toEqual([400, name])
  })
})

describe('models', () => {
  it('are the one that is served', async () => {
    const { data } = await served.client.models.list()
    expect(data).toEqual([
      { id: 'scripted', object: 'model', created: 1_700_000_000, owned_by: 'edgewise', context_length: 256 },
    ])
    expect(await served.client.models.retrieve('scripted')).toMatchObject({ id: 'scripted' })
    await expect(served.client.models.retrieve('a/b')).rejects.toBeInstanceOf(OpenAI.NotFoundError)
    expect((await ask(served.server, '/v1/models/%E0%A4%A')).status).toBe(404)
  })
})

describe('an error of the backend', () => {
  const cases: [BackendCode, number, string, unknown][] = [
    ['E_BUSY', 429, 'queue_full', OpenAI.RateLimitError],
    ['E_DRAINING', 503, 'draining', OpenAI.InternalServerError],
    ['E_UNAVAILABLE', 503, 'unavailable', OpenAI.InternalServerError],
    ['E_TOO_LARGE', 400, 'edge_memory_exceeded', OpenAI.BadRequestError],
    ['E_DEADLINE', 504, 'deadline_exceeded', OpenAI.InternalServerError],
    ['E_CANCELLED', 503, 'cancelled', OpenAI.InternalServerError],
    ['E_KEY_REUSED', 409, 'idempotency_key_reused', OpenAI.ConflictError],
  ]
  it.each(cases)('%s is told as %i', async (code, status, told, kind) => {
    served.backend.script = () => [new BackendError(code, 'the backend says why')]
    const error: unknown = await served.client.chat.completions
      .create(hello)
      .catch((caught: unknown) => caught)
    expect(error).toBeInstanceOf(kind)
    expect(error).toMatchObject({ status, code: told })
    expect((error as Error).message).toContain('the backend says why')
    const retry = [429, 503].includes(status) && code !== 'E_CANCELLED' ? '1' : null
    expect((await chat({})).headers.get('retry-after')).toBe(retry)
  })

  it('that nobody foresaw is 500 without its insides', async () => {
    served.backend.script = () => [new TypeError('/home/secret/path is not a function')]
    const before = served.defects.length
    const { status, text: body, json } = await chat({})
    expect([status, json.error.code]).toEqual([500, 'internal_error'])
    expect(body).not.toContain('secret')
    expect(served.defects.slice(before)).toMatchObject([{ message: expect.stringMatching(/secret/) }])
  })
})

describe('whatever is sent', () => {
  const names = fc.constantFrom(
    'model',
    'messages',
    'prompt',
    'max_tokens',
    'temperature',
    'stop',
    'stream',
    'n',
    'tools',
    'seed',
    'top_p',
    'stream_options',
    'response_format',
    'logprobs',
    'timeout',
    '__proto__',
    'constructor',
    'toString',
    'logit_bias',
  )
  const body = fc.dictionary(names, fc.jsonValue({ maxDepth: 3 }), { maxKeys: 6 })
  const nearly = body.map((over) => ({ ...hello, prompt: 'x', ...over }))

  it('bodies of any kind are answered, never with 500', async () => {
    const { server, defects } = served
    served.backend.script = () => [1, 2, 3]
    const before = defects.length
    const any = fc.oneof(body, nearly, fc.jsonValue(), fc.string()).map((one) => JSON.stringify(one))
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(CHAT, TEXT), any, async (path, sent) => {
        const { status, text: heard } = await post(server, path, sent)
        // A deadline of next to nothing has passed.
        expect([200, 400, 404, 504]).toContain(status)
        expect(heard.length).toBeGreaterThan(0)
      }),
      { numRuns: 300 },
    )
    expect(defects.slice(before)).toEqual([])
  })

  it('texts of any characters are taken', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'binary', minLength: 1, maxLength: 40 }), async (content) => {
        expect((await chat({ messages: [{ role: 'user', content }], max_tokens: 1 })).status).toBe(200)
      }),
      { numRuns: 100 },
    )
    expect(
      (await chat({ messages: [{ role: 'user', content: '\ud800 alone' }], max_tokens: 1 })).status,
    ).toBe(200)
  })

  it('bytes of any kind leave it standing', async () => {
    const { server, defects } = served
    const before = defects.length
    const head = fc.constantFrom(
      '',
      'GET / HTTP/1.1\r\n',
      `POST ${CHAT} HTTP/1.1\r\nHost: localhost\r\n`,
      'GET /\0',
    )
    await fc.assert(
      fc.asyncProperty(head, fc.uint8Array({ maxLength: 200 }), fc.boolean(), async (start, bytes, ends) => {
        const socket = await raw(server, Buffer.concat([Buffer.from(start), bytes]))
        const gone = new Promise((resolve) => socket.on('close', resolve))
        if (ends) socket.end()
        else socket.destroy()
        await gone
      }),
      { numRuns: 100 },
    )
    expect((await ask(server, '/healthz')).json).toEqual({ status: 'ok' })
    expect(defects.slice(before)).toEqual([])
  })

  it('what is no HTTP is told so', async () => {
    const socket = await raw(served.server, 'hello\r\n\r\n')
    await new Promise((resolve) => socket.once('close', resolve))
    expect(socket.heard()).toMatch(/^HTTP\/1.1 400 [^]*"code":"bad_http"/)
    const large = await raw(
      served.server,
      `GET /healthz HTTP/1.1\r\nHost: x\r\nA: ${'x'.repeat(20_000)}\r\n\r\n`,
    )
    await new Promise((resolve) => large.once('close', resolve))
    expect(large.heard()).toMatch(/^HTTP\/1.1 431 [^]*"code":"headers_too_large"/)
  })
})
