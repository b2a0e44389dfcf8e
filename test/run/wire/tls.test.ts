import { createConnection, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { afterEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../../src/core/clock.ts'
import { connect } from '../../../src/run/wire/client.ts'
import { FRAME } from '../../../src/run/wire/types.ts'
import { listen } from '../../../src/run/wire/server.ts'
import { makeFrame } from '../../../src/run/wire/frame.ts'
import type { CloseReason, Connection } from '../../../src/run/wire/types.ts'
import type { ConnectOptions } from '../../../src/run/wire/client.ts'
import type { ListenOptions, WireServer } from '../../../src/run/wire/server.ts'
import { revoking, testAuthority } from './certificates.ts'
import { ending } from './support.ts'

const ours = await testAuthority()
const others = await testAuthority('others')
const cloud = await ours.issue('cloud')
const edge = await ours.issue('edge')
const expired = {
  cloud: await ours.issue('cloud', { expired: true }),
  edge: await ours.issue('edge', { expired: true }),
}
const elsewhere = await ours.issue('cloud', { names: ['b.test'] })
const foreign = await others.issue('cloud')
const nameless = await ours.issue('')
/** Says that it trusts us; its own certificate is another authority's. */
const stranger = { ...(await others.issue('edge')), ca: ours.pem }

const servers: WireServer[] = []
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()))
})

interface Served {
  readonly port: number
  readonly rejected: Promise<Error>
  readonly opened: Connection[]
  readonly greeted: unknown[]
}

async function serve(parts: Partial<ListenOptions> = {}): Promise<Served> {
  let reject: (error: Error) => void = () => {}
  const rejected = new Promise<Error>((resolve) => (reject = resolve))
  const [opened, greeted]: [Connection[], unknown[]] = [[], []]
  const server = await listen({
    host: '127.0.0.1',
    port: 0,
    clock: systemClock,
    tls: cloud,
    onRejected: reject,
    greet: (peer, identity) => {
      greeted.push(peer)
      return { welcome: { identity } }
    },
    onConnection: (connection) => opened.push(connection),
    ...parts,
  })
  servers.push(server)
  return { port: server.port, rejected, opened, greeted }
}

function dial(port: number, parts: Partial<ConnectOptions> = {}): Promise<Connection> {
  return connect({ host: '127.0.0.1', port, greeting: {}, clock: systemClock, tls: edge, ...parts })
}

describe('TLS', () => {
  it('tells a greeting whose it is', async () => {
    const { port } = await serve()
    const client = await dial(port)
    expect(client.peer).toEqual({ identity: 'edge' })
    expect(client.identity).toBe('cloud')
  })

  it.each([
    ['of another authority', stranger, 'UNABLE_TO_VERIFY_LEAF_SIGNATURE'],
    ['that has expired', expired.edge, 'CERT_HAS_EXPIRED'],
    ['without a name', nameless, 'no common name'],
  ])('turns away a client with a certificate %s, and both know why', async (_, tls, why) => {
    const { port, rejected, opened, greeted } = await serve()
    const untrusted = { code: 'E_CONNECTION_UNTRUSTED', message: expect.stringContaining(why) as string }
    await expect(dial(port, { tls })).rejects.toMatchObject(untrusted)
    expect(await rejected).toMatchObject(untrusted)
    expect([opened, greeted]).toEqual([[], []])
  })

  it('turns away a client without a certificate before it reads a word of it', async () => {
    const { port, rejected, greeted } = await serve()
    const socket = connectTls({ host: '127.0.0.1', port, ca: ours.pem, minVersion: 'TLSv1.3' })
    const chunks: Buffer[] = []
    for await (const chunk of socket) chunks.push(chunk as Buffer)
    expect(Buffer.concat(chunks).toString('latin1')).toContain('the client shows no certificate')
    expect(await rejected).toMatchObject({ code: 'E_CONNECTION_UNTRUSTED' })
    expect(greeted).toEqual([])
  })

  it('is 1.3 and nothing older', async () => {
    const { port, rejected } = await serve()
    const old = connectTls({ host: '127.0.0.1', port, ...edge, maxVersion: 'TLSv1.2' })
    const error = await new Promise<Error>((resolve) => old.once('error', resolve))
    expect(error.message).toContain('protocol version')
    expect(await rejected).toMatchObject({ code: 'E_CONNECTION_UNTRUSTED' })
  })

  it.each([
    ['another authority', foreign, {}, 'certificate'],
    ['an expired certificate', expired.cloud, {}, 'expired'],
    ['another name', elsewhere, {}, "IP: 127.0.0.1 is not in the cert's list"],
    ['another name than was asked for', cloud, { serverName: 'a.test' }, 'a.test. is not in the cert'],
  ])('does not greet a server of %s', async (_, tls, asked, why) => {
    const { port, rejected, greeted } = await serve({ tls })
    await expect(dial(port, { tls: { ...edge, ...asked } })).rejects.toMatchObject({
      code: 'E_CONNECTION_UNTRUSTED',
      message: expect.stringContaining(why) as string,
    })
    expect(await rejected).toMatchObject({ name: 'ConnectionError' })
    expect(greeted).toEqual([])
  })

  it('knows a server by the name that was asked for', async () => {
    const { port } = await serve({ tls: await ours.issue('cloud', { names: ['a.test'] }) })
    const client = await dial(port, { tls: { ...edge, serverName: 'a.test' } })
    expect(client.identity).toBe('cloud')
  })

  it('lets in only names that are allowed', async () => {
    const { port, rejected } = await serve({ allow: (identity) => identity !== 'edge' })
    await expect(dial(port)).rejects.toMatchObject({
      code: 'E_CONNECTION_REFUSED',
      peerCode: 'E_FORBIDDEN',
      message: expect.stringContaining('edge may not connect here') as string,
    })
    expect(await rejected).toMatchObject({ peerCode: 'E_FORBIDDEN' })
    const other = await dial(port, { tls: await ours.issue('edge-2') })
    expect(other.peer).toEqual({ identity: 'edge-2' })
  })

  it('fails clearly where only one side speaks it', async () => {
    const secured = await serve()
    const plain = connect({ host: '127.0.0.1', port: secured.port, greeting: {}, clock: systemClock })
    await expect(plain).rejects.toMatchObject({ code: 'E_CONNECTION_LOST' })
    expect(await secured.rejected).toMatchObject({ code: 'E_CONNECTION_UNTRUSTED' })
    const server = await listen({
      host: '127.0.0.1',
      port: 0,
      clock: systemClock,
      greet: () => ({ welcome: {} }),
      onConnection: () => {},
    })
    servers.push(server)
    await expect(dial(server.port)).rejects.toMatchObject({ code: 'E_CONNECTION_UNTRUSTED' })
  })

  it('gives a handshake its time and not more, and its place back', async () => {
    const limits = { greetingSeconds: 0.2 }
    const { port, rejected } = await serve({ limits, maxConnections: 1 })
    const silent = createConnection({ host: '127.0.0.1', port })
    silent.on('error', () => {})
    await new Promise((resolve) => silent.once('connect', resolve))
    await expect(dial(port)).rejects.toMatchObject({ code: 'E_CONNECTION_REFUSED' })
    expect(await rejected).toMatchObject({ name: 'ConnectionError' })
    await new Promise((resolve) => silent.once('close', resolve))
    const client = await dial(port)
    expect(client.identity).toBe('cloud')
  })

  it('says which keys are none', async () => {
    const broken = { ...cloud, key: 'no key' }
    await expect(serve({ tls: broken })).rejects.toMatchObject({ code: 'E_INPUT' })
    const { port } = await serve()
    await expect(dial(port, { tls: { ...edge, cert: cloud.cert } })).rejects.toMatchObject({
      code: 'E_INPUT',
    })
  })

  it('lets nobody in whose certificate was revoked, on either side', async () => {
    const { port, rejected } = await serve({ tls: { ...cloud, crl: [await revoking(ours, [edge])] } })
    const untrusted = {
      code: 'E_CONNECTION_UNTRUSTED',
      message: expect.stringContaining('REVOKED') as string,
    }
    await expect(dial(port)).rejects.toMatchObject(untrusted)
    expect(await rejected).toMatchObject(untrusted)
    expect((await dial(port, { tls: await ours.issue('edge-2') })).identity).toBe('cloud')
    const crl = [await revoking(ours, [cloud])]
    const wary = dial((await serve()).port, { tls: { ...edge, crl } })
    await expect(wary).rejects.toMatchObject({ code: 'E_CONNECTION_UNTRUSTED' })
  })

  it('trusts nobody where the list of revoked certificates has expired', async () => {
    const { port } = await serve()
    const crl = [await revoking(ours, [], { expired: true })]
    await expect(dial(port, { tls: { ...edge, crl } })).rejects.toMatchObject({
      code: 'E_CONNECTION_UNTRUSTED',
      message: expect.stringContaining('CRL_HAS_EXPIRED') as string,
    })
  })

  it('may leave the machine', async () => {
    const { port } = await serve({ host: '0.0.0.0' })
    const client = await dial(port)
    client.send(makeFrame(FRAME.close))
    expect(client.identity).toBe('cloud')
  })

  it('closes a server in the middle of a handshake', async () => {
    const { port } = await serve()
    const silent = createConnection({ host: '127.0.0.1', port })
    silent.on('error', () => {})
    await new Promise((resolve) => silent.once('connect', resolve))
    await new Promise((resolve) => setImmediate(resolve))
    await servers.pop()?.close()
  })

  it('takes damage on the way for damage, whatever it hits', async () => {
    const limits = { greetingSeconds: 0.5 }
    const { port, opened } = await serve({ limits })
    for (const at of [40, 200, 700, 1100]) {
      const relay = await damaging(port, at)
      const outcome = await dial(relay.port, { limits }).then(
        (client) => ending(client),
        (error: unknown) => error,
      )
      expect(outcome).toSatisfy((found) => found instanceof Error || (found as CloseReason).kind === 'failed')
      await relay.close()
    }
    expect(opened).toEqual([])
    const late = await damaging(port, 6000)
    const client = await dial(late.port)
    const ends = Promise.all([ending(client), ending(opened[0])])
    client.send(makeFrame(FRAME.tensor, { payload: new Uint8Array(20_000) }))
    const lost = { kind: 'failed', error: { code: 'E_CONNECTION_LOST' } }
    expect(await ends).toMatchObject([lost, lost])
    await late.close()
  })
})

/** Hands bytes on to `port`, and inverts the client's byte number `at`. */
async function damaging(port: number, at: number): Promise<{ port: number; close(): Promise<void> }> {
  const sockets: Socket[] = []
  const relay = createServer((near) => {
    const far = createConnection({ host: '127.0.0.1', port })
    sockets.push(near, far)
    let passed = 0
    near.on('data', (chunk) => {
      if (passed <= at && at < passed + chunk.length) chunk[at - passed] ^= 255
      passed += chunk.length
      far.write(chunk)
    })
    far.on('data', (chunk) => near.write(chunk))
    for (const [one, other] of [
      [near, far],
      [far, near],
    ]) {
      one.on('error', () => {})
      one.on('close', () => other.destroy())
    }
  })
  await new Promise<void>((resolve) => relay.listen({ host: '127.0.0.1', port: 0 }, resolve))
  return {
    port: (relay.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        for (const socket of sockets) socket.destroy()
        relay.close(() => resolve())
      }),
  }
}
