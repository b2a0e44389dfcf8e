import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { get } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from 'node:tls'
import { afterEach, describe, expect, it } from 'vitest'
import { parseApiKeys } from '../../../src/serve/http/keys.ts'
import { InputError } from '../../../src/core/errors.ts'
import { HandTime } from '../../run/wire/support.ts'
import {
  ask,
  bytesOf,
  CHAT,
  closeAll,
  hello,
  post,
  raw,
  rawPost,
  ScriptedBackend,
  serve,
  until,
} from './support.ts'

afterEach(closeAll)

const streamed = { ...hello, stream: true as const }

/** A backend that gives `given` tokens and then waits. */
function slow(given: number, text = ' world and so on'): ScriptedBackend {
  const backend = new ScriptedBackend()
  backend.credit = given
  backend.script = () => bytesOf(text)
  return backend
}

describe('where it listens', () => {
  const keys = parseApiKeys('ann 0123456789abcdef', 'test')

  it('is this machine, but with TLS and a key', async () => {
    await expect(serve({ host: '0.0.0.0' })).rejects.toThrow(/TLS and at least one API key/)
    await expect(serve({ host: '0.0.0.0', keys })).rejects.toThrow(/expected: TLS, for/)
    await expect(serve({ host: '::', tls: { key: '', cert: '' } })).rejects.toThrow(
      /expected: at least one API key/,
    )
    await expect(serve({ host: 'no.such.host.invalid' })).rejects.toBeInstanceOf(InputError)
    expect((await serve({ host: 'localhost' })).server.url).toMatch(/^http:\/\//)
  })

  it('is a port that is free', async () => {
    const { server } = await serve()
    await expect(serve({ port: server.port })).rejects.toThrow(/EADDRINUSE/)
  })

  it('speaks TLS 1.3 and nothing older', async () => {
    const tls = selfSigned()
    await expect(serve({ tls: { ...tls, key: 'none' } })).rejects.toThrow(/certificate and its private key/)
    const { server } = await serve({ tls, keys, host: '0.0.0.0' })
    const to = { port: server.port, ca: tls.cert, servername: 'localhost' }
    const status = await new Promise((resolve, reject) => {
      const headers = { authorization: 'Bearer 0123456789abcdef' }
      get({ ...to, host: '127.0.0.1', path: '/v1/models', headers, agent: false }, (response) => {
        response.resume()
        resolve(response.statusCode)
      }).on('error', reject)
    })
    expect(status).toBe(200)
    const old = await new Promise((resolve) => {
      connect({ ...to, maxVersion: 'TLSv1.2' }, () => resolve('connected')).on('error', resolve)
    })
    expect(String(old)).toMatch(/protocol version/i)
  })
})

function selfSigned(): { key: string; cert: string } {
  const folder = mkdtempSync(join(tmpdir(), 'edgewise-tls-'))
  try {
    const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
    execFileSync(
      'openssl',
      [
        'req',
        '-x509',
        '-newkey',
        'ec',
        '-pkeyopt',
        'ec_paramgen_curve:P-256',
        '-nodes',
        '-days',
        '2',
        '-subj',
        '/CN=localhost',
        '-addext',
        'subjectAltName=DNS:localhost',
        '-keyout',
        key,
        '-out',
        cert,
      ],
      { stdio: 'ignore' },
    )
    return { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

describe('a client that leaves', () => {
  it('in a stream, stops the backend at once', async () => {
    const backend = slow(3)
    const { client, records } = await serve({}, backend)
    const stream = await client.chat.completions.create(streamed)
    for await (const chunk of stream) if (chunk.choices[0].delta.content === 'o') break
    await until(() => backend.aborted === 1)
    await until(() => records.length === 1)
    expect(records[0]).toMatchObject({ status: 499, error: 'client_left', completionTokens: 3, finish: null })
    expect(backend.running).toBe(0)
  })

  it('in a stream of which text is held back, leaves no timer behind', async () => {
    const time = new HandTime()
    const backend = slow(3, 'xxE and so on')
    const { client, records } = await serve({ timers: time }, backend)
    const stream = await client.chat.completions.create({ ...streamed, stop: 'EN!' })
    for await (const chunk of stream) if (chunk.choices[0].delta.content === 'x') break
    await until(() => records.length === 1)
    expect(records[0]).toMatchObject({ status: 499, completionTokens: 3 })
    expect(time.pending).toBe(0)
  })

  it('while it waits, or by closing its half of the connection', async () => {
    const backend = slow(0)
    const { server, records } = await serve({}, backend)
    const request = rawPost(CHAT, JSON.stringify(hello))
    const gone = await raw(server, request)
    await until(() => backend.running === 1)
    gone.destroy()
    const half = await raw(server, request)
    await until(() => backend.requests.length === 2)
    half.end()
    await until(() => backend.aborted === 2)
    await until(() => records.length === 2)
    expect(records.map(({ status }) => status)).toEqual([499, 499])
  })

  it('in the middle of its body, leaves nothing behind', async () => {
    const { server, backend, records } = await serve()
    const socket = await raw(server, rawPost(CHAT, JSON.stringify(hello)).slice(0, -5))
    await new Promise((resolve) => setTimeout(resolve, 20))
    socket.destroy()
    await until(() => records.length === 1)
    expect(records[0]).toMatchObject({ status: 499, completionTokens: null })
    expect(backend.requests).toEqual([])
  })

  it('without reading is given up past a cap of bytes', async () => {
    const backend = new ScriptedBackend()
    backend.model = { ...backend.model, contextTokens: 1e6 }
    backend.script = () => Array.from({ length: 200_000 }, () => 97)
    const { server, records } = await serve({ limits: { unreadBytes: 64 * 1024 } }, backend)
    const socket = await raw(server)
    socket.pause()
    socket.write(rawPost(CHAT, JSON.stringify(streamed)))
    await until(() => records.length === 1)
    expect(records[0]).toMatchObject({ status: 499, error: 'client_unread' })
    expect(backend.aborted).toBe(1)
    socket.destroy()
  })

  it('without reading is given up after a while, too', async () => {
    const time = new HandTime()
    const backend = new ScriptedBackend()
    backend.model = { ...backend.model, contextTokens: 1e6 }
    backend.script = () => Array.from({ length: 60_000 }, () => 97)
    const limits = { unreadBytes: 1e9, unreadSeconds: 30 }
    const { server, records } = await serve({ limits, timers: time }, backend)
    const socket = await raw(server)
    socket.pause()
    socket.write(rawPost(CHAT, JSON.stringify(streamed)))
    await until(() => backend.requests.length === 1 && backend.running === 0)
    expect(records).toEqual([])
    time.pass(30)
    await until(() => records.length === 1)
    expect(records[0]).toMatchObject({ status: 499, error: 'client_unread' })
    socket.destroy()
  })
})

describe('a deadline', () => {
  it.each([
    [{ 'X-Request-Deadline-Seconds': '5' }, {}, 5],
    [{}, { timeout: 5 }, 5],
    [{ 'X-Request-Deadline-Seconds': '5' }, { timeout: 7.5 }, 5],
  ])('named by %j and %j ends a request, with what was generated', async (headers, over, seconds) => {
    const time = new HandTime()
    const backend = slow(3)
    const { server } = await serve({ clock: time, timers: time }, backend)
    const answer = post(server, CHAT, { ...hello, ...over }, headers)
    await until(() => backend.credit === 0)
    expect(backend.requests[0].deadlineSeconds).toBe(seconds)
    time.pass(4.9)
    time.pass(0.2)
    expect(await answer).toMatchObject({
      status: 504,
      json: {
        error: {
          code: 'deadline_exceeded',
          message: expect.stringMatching(/5 s/),
          partial: { text: ' wo', tokens: 3 },
        },
      },
    })
    await until(() => backend.aborted === 1)
  })

  it("of the service's own holds for who names none or a later one", async () => {
    const time = new HandTime()
    const backend = slow(0)
    backend.totalSeconds = 60
    const { server } = await serve({ clock: time, timers: time }, backend)
    const answers = [post(server, CHAT, hello), post(server, CHAT, { ...hello, timeout: 600 })]
    await until(() => backend.running === 2)
    time.pass(60)
    expect((await Promise.all(answers)).map(({ status }) => status)).toEqual([504, 504])
    expect(time.pending).toBe(0)
  })
})

describe('a stream with nothing to say', () => {
  it('says so, and a failure after that is an event', async () => {
    const time = new HandTime()
    const backend = slow(0)
    const { server } = await serve({ timers: time }, backend)
    const answer = post(server, CHAT, { ...streamed, timeout: 40 })
    await until(() => backend.running === 1)
    time.pass(15)
    time.pass(15)
    time.pass(10)
    const { status, text } = await answer
    expect(status).toBe(200)
    expect(text).toMatch(
      /^: still at it\n\n: still at it\n\ndata: \{"error":\{[^\n]*deadline_exceeded[^\n]*\n\n$/,
    )
    expect(time.pending).toBe(0)
  })
})

describe('readiness', () => {
  it("is the backend's; without it completions are refused", async () => {
    const { server, backend } = await serve()
    expect((await ask(server, '/readyz')).json).toEqual({ ready: true, reason: 'ready' })
    backend.readiness = { ready: false, reason: 'loading' }
    const { status, json } = await ask(server, '/readyz')
    expect([status, json]).toEqual([503, { ready: false, reason: 'loading' }])
    expect((await post(server, CHAT, hello)).json.error).toMatchObject({
      code: 'unavailable',
      message: expect.stringMatching(/loading/),
    })
    expect((await ask(server, '/healthz', { method: 'HEAD' })).status).toBe(200)
  })
})

describe('draining', () => {
  it('lets what is under way end, takes nothing new, and closes', async () => {
    const backend = slow(2)
    const { server } = await serve({}, backend)
    const answer = post(server, CHAT, hello)
    await until(() => backend.credit === 0)
    const drained = server.drain(60)
    expect(await ask(server, '/readyz')).toMatchObject({ status: 503, json: { reason: 'draining' } })
    expect(await post(server, CHAT, hello)).toMatchObject({
      status: 503,
      json: { error: { code: 'draining' } },
    })
    expect((await ask(server, '/healthz')).status).toBe(200)
    backend.release()
    expect((await answer).json.choices[0].message.content).toBe(' world and so on')
    expect(await drained).toEqual({ givenUp: 0 })
    await expect(ask(server, '/healthz')).rejects.toThrow()
  })

  it('gives up what takes too long, with what was generated', async () => {
    const time = new HandTime()
    const backend = slow(2)
    const { server } = await serve({ timers: time }, backend)
    const [whole, events] = [post(server, CHAT, hello), post(server, CHAT, streamed)]
    await until(() => backend.credit === 0 && backend.running === 2)
    const drained = server.drain(10)
    time.pass(10)
    expect(await drained).toEqual({ givenUp: 2 })
    const { status, json } = await whole
    expect([status, json.error.code]).toEqual([503, 'draining'])
    expect((await events).text).toContain('"code":"draining"')
    await until(() => backend.aborted === 2)
  })

  it('closing gives up at once, and twice is once', async () => {
    const backend = slow(1)
    const { server } = await serve({}, backend)
    const answer = post(server, CHAT, hello)
    await until(() => backend.credit === 0)
    await Promise.all([server.close(), server.close()])
    expect(await answer).toMatchObject({
      status: 503,
      json: { error: { partial: { text: ' ', tokens: 1 } } },
    })
  })

  it('waits for no client that does not send its request to the end', async () => {
    const time = new HandTime()
    const { server } = await serve({ timers: time })
    const socket = await raw(server, rawPost(CHAT, JSON.stringify(hello)).slice(0, -5))
    const idle = await raw(server)
    await new Promise((resolve) => setTimeout(resolve, 20))
    const closed = server.close()
    const both = [socket, idle].map((one) => new Promise((resolve) => one.on('close', resolve)))
    time.pass(5)
    await Promise.all([closed, ...both])
  })
})

describe('a client that takes its time', () => {
  it('over its headers or its body gets 408', async () => {
    const limits = { headerSeconds: 0.2, uploadSeconds: 0.4 }
    const { server, records } = await serve({ limits })
    const headers = await raw(server, 'GET /healthz HTTP/1.1\r\nHost: x')
    const body = await raw(server, rawPost(CHAT, JSON.stringify(hello)).slice(0, -5))
    await Promise.all([headers, body].map((one) => new Promise((resolve) => one.on('close', resolve))))
    for (const one of [headers, body]) expect(one.heard()).toMatch(/^HTTP\/1.1 408 [^]*request_timeout/)
    await until(() => records.length === 1)
    expect(records[0]).toMatchObject({ status: 408, error: 'request_timeout' })
  })

  it('is one of as many as connections are taken', async () => {
    const { server } = await serve({ limits: { connections: 2 } })
    const held = [await raw(server), await raw(server)]
    const third = await raw(server, 'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n')
    await new Promise((resolve) => third.on('close', resolve))
    expect(third.heard()).toBe('')
    for (const one of held) one.destroy()
  })
})

describe('metrics', () => {
  it('count what happened, under names and labels that no client chooses', async () => {
    const backend = new ScriptedBackend()
    const { server, client, records, registry } = await serve({}, backend)
    await client.chat.completions.create(hello)
    for await (const _ of await client.chat.completions.create(streamed)) continue
    await ask(server, '/v1/unknown?x=1')
    await ask(server, '/v1/models/other')
    await post(server, CHAT, { ...hello, model: 'x' })
    await until(() => records.length === 5)
    const { text, headers } = await ask(server, '/metrics')
    expect(headers.get('content-type')).toBe(registry.contentType)
    const lines = text.split('\n')
    for (const line of [
      'edgewise_http_requests_total{route="/v1/chat/completions",code="200"} 2',
      'edgewise_http_requests_total{route="/v1/chat/completions",code="404"} 1',
      'edgewise_http_requests_total{route="/v1/models/{id}",code="404"} 1',
      'edgewise_http_requests_total{route="other",code="404"} 1',
      'edgewise_request_seconds_count{route="/v1/chat/completions"} 3',
      'edgewise_ttft_seconds_count 2',
      'edgewise_tpot_seconds_count 2',
      'edgewise_tokens_total{kind="prompt"} 2',
      'edgewise_tokens_total{kind="completion"} 14',
      'edgewise_requests_in_flight 0',
      'edgewise_streams_open 0',
    ]) {
      expect(lines).toContain(line)
    }
    expect(text).not.toContain('unknown')
  })

  it('see what is under way', async () => {
    const backend = slow(2)
    const { registry, server } = await serve({}, backend)
    const answers = [post(server, CHAT, streamed), post(server, CHAT, hello)]
    await until(() => backend.running === 2 && backend.credit === 0)
    const text = await registry.metrics()
    expect(text).toMatch(/^edgewise_requests_in_flight 2$/m)
    expect(text).toMatch(/^edgewise_streams_open 1$/m)
    backend.release()
    await Promise.all(answers)
  })
})
