import { copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { once } from 'node:events'
import { connect, createServer } from 'node:tls'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Clock } from '../../../src/core/clock.ts'
import { systemClock } from '../../../src/core/clock.ts'
import { issue, revocationList } from '../../../src/core/trust/authority.ts'
import { initKeys, retireOthers, revokeDevice, writeDevice } from '../../../src/core/trust/keyFolder.ts'
import { readTlsMaterial } from '../../../src/core/trust/material.ts'
import type { TlsMaterial } from '../../../src/core/trust/material.ts'

const root = mkdtempSync(join(tmpdir(), 'edgewise-trust-'))
const at = (name: string): string => join(root, name)
const clock = systemClock
const terms = { clock, validDays: 30, force: false }

/** A clock that stood at some day: for certificates that were made long ago. */
const clockAt = (time: string): Clock => ({ nowSeconds: () => 0, wallTime: () => time })

/** What came of one handshake: who the server saw, or why there was none (either side's error). */
async function handshake(
  server: TlsMaterial,
  client: Partial<TlsMaterial>,
  host = 'cloud.example',
): Promise<{ peer?: string; echo?: string; protocol?: string | null; errors: string[] }> {
  const errors: string[] = []
  let peer: string | undefined
  const listener = createServer({
    ...server,
    minVersion: 'TLSv1.3',
    requestCert: true,
    // Refused below, where the reason can still be heard: node:tls itself only hangs up.
    rejectUnauthorized: false,
  })
  listener.on('secureConnection', (socket) => {
    if (!socket.authorized) {
      errors.push(String(socket.authorizationError))
      socket.destroy()
      return
    }
    peer = String(socket.getPeerCertificate().subject.CN)
    socket.on('error', () => undefined)
    socket.pipe(socket)
  })
  listener.on('tlsClientError', (error) =>
    errors.push((error as NodeJS.ErrnoException).code ?? error.message),
  )
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const { port } = listener.address() as AddressInfo
  const socket = connect({ host: '127.0.0.1', port, servername: host, ...client })
  const protocol = { name: null as string | null }
  socket.on('secureConnect', () => {
    protocol.name = socket.getProtocol()
    socket.write('hello')
  })
  const echo = await new Promise<string | undefined>((resolve) => {
    socket.on('data', (data: Buffer) => resolve(data.toString()))
    socket.on('error', (error: NodeJS.ErrnoException) => {
      errors.push(error.code ?? error.message)
      resolve(undefined)
    })
    socket.on('close', () => resolve(undefined))
  })
  socket.destroy()
  listener.close()
  await once(listener, 'close')
  return {
    errors,
    ...(peer === undefined ? {} : { peer }),
    ...(echo === undefined ? {} : { echo, protocol: protocol.name }),
  }
}

beforeAll(async () => {
  await initKeys(at('keys'), terms)
  await writeDevice(at('keys'), at('cloud'), {
    ...terms,
    name: 'cloud',
    hosts: ['cloud.example', '127.0.0.1'],
  })
  await writeDevice(at('keys'), at('edge'), { ...terms, name: 'edge-1', hosts: [] })
})
afterAll(() => rmSync(root, { recursive: true, force: true }))

const material = (name: string): TlsMaterial => readTlsMaterial(at(name), clock)

describe('a handshake with certificates of one authority', () => {
  test('succeeds in TLS 1.3, and each side knows the other', async () => {
    const result = await handshake(material('cloud'), material('edge'))
    expect(result).toEqual({ peer: 'edge-1', echo: 'hello', protocol: 'TLSv1.3', errors: [] })
  })

  test('fails for a host that the certificate does not name', async () => {
    const { echo, errors } = await handshake(material('cloud'), material('edge'), 'other.example')
    expect(echo).toBeUndefined()
    expect(errors).toContain('ERR_TLS_CERT_ALTNAME_INVALID')
  })

  test('fails for a client without a certificate', async () => {
    const { ca } = material('edge')
    const { peer, echo, errors } = await handshake(material('cloud'), { ca })
    expect([peer, echo]).toEqual([undefined, undefined])
    expect(errors.join()).toContain('UNABLE_TO_GET_ISSUER_CERT')
  })

  test('fails for a certificate that has expired, on either side', async () => {
    const authority = {
      certificate: readFileSync(join(at('keys'), 'ca.pem'), 'utf8'),
      key: readFileSync(join(at('keys'), 'ca-key.pem'), 'utf8'),
    }
    const old = await issue(authority, {
      clock: clockAt('2020-01-01T00:00:00.000Z'),
      name: 'old',
      hosts: ['cloud.example'],
      validDays: 1,
    })
    const late = { ca: authority.certificate, cert: old.certificate, key: old.key }
    const asClient = await handshake(material('cloud'), late)
    expect(asClient.peer).toBeUndefined()
    expect(asClient.errors).toContain('CERT_HAS_EXPIRED')
    const asServer = await handshake(late, material('edge'))
    expect(asServer.echo).toBeUndefined()
    expect(asServer.errors).toContain('CERT_HAS_EXPIRED')
  })

  test('fails for a certificate of another authority, on either side', async () => {
    await initKeys(at('foreign-keys'), terms)
    await writeDevice(at('foreign-keys'), at('foreign'), {
      ...terms,
      name: 'edge-1',
      hosts: ['cloud.example'],
    })
    const asClient = await handshake(material('cloud'), {
      ...material('foreign'),
      ca: material('edge').ca,
      crl: [],
    })
    expect(asClient.peer).toBeUndefined()
    expect(asClient.errors.join()).toMatch(/UNABLE_TO_VERIFY|UNABLE_TO_GET|SELF_SIGNED/)
    const asServer = await handshake(material('foreign'), material('edge'))
    expect(asServer.echo).toBeUndefined()
    expect(asServer.errors.join()).toMatch(/UNABLE_TO_VERIFY|UNABLE_TO_GET|SELF_SIGNED/)
  })
})

describe('revocation', () => {
  test('refuses the device from the list on, renewed it is taken again', async () => {
    await writeDevice(at('keys'), at('lost'), { ...terms, name: 'lost', hosts: [] })
    expect((await handshake(material('cloud'), material('lost'))).peer).toBe('lost')
    const serials = await revokeDevice(at('keys'), 'lost', clock)
    expect(serials).toHaveLength(1)
    copyFileSync(join(at('keys'), 'crl.pem'), join(at('cloud'), 'crl.pem'))
    const refused = await handshake(material('cloud'), material('lost'))
    expect(refused.peer).toBeUndefined()
    expect(refused.errors).toContain('CERT_REVOKED')
    expect((await handshake(material('cloud'), material('edge'))).peer).toBe('edge-1')
    await writeDevice(at('keys'), at('lost'), { ...terms, force: true, name: 'lost', hosts: [] })
    expect((await handshake(material('cloud'), material('lost'))).peer).toBe('lost')
  })

  test('is signed by the authority: its list of another one is refused by TLS', async () => {
    await initKeys(at('other-keys'), terms)
    const [certificate, key] = ['ca.pem', 'ca-key.pem'].map((file) =>
      readFileSync(join(at('other-keys'), file), 'utf8'),
    )
    const crl = [await revocationList({ certificate, key }, [], clock)]
    const { peer, errors } = await handshake({ ...material('cloud'), crl }, material('edge'))
    expect(peer).toBeUndefined()
    expect(errors.join()).toContain('UNABLE_TO_GET_CRL')
  })
})

describe('another authority', () => {
  test('takes over while both are trusted, and alone once the first is retired', async () => {
    await initKeys(at('next'), { ...terms, also: at('keys') })
    await writeDevice(at('next'), at('cloud-2'), { ...terms, name: 'cloud', hosts: ['cloud.example'] })
    await writeDevice(at('next'), at('edge-2'), { ...terms, name: 'edge-1', hosts: [] })
    // The cloud changed first: an edge that only trusts what it trusted before is still let in, and it needs both.
    for (const file of ['ca.pem', 'crl.pem']) copyFileSync(join(at('next'), file), join(at('edge'), file))
    expect((await handshake(material('cloud-2'), material('edge'))).peer).toBe('edge-1')
    expect((await handshake(material('cloud-2'), material('edge-2'))).peer).toBe('edge-1')
    expect(retireOthers(at('next'))).toBe(1)
    for (const file of ['ca.pem', 'crl.pem']) copyFileSync(join(at('next'), file), join(at('cloud-2'), file))
    expect((await handshake(material('cloud-2'), material('edge'))).peer).toBeUndefined()
    expect((await handshake(material('cloud-2'), material('edge-2'))).peer).toBe('edge-1')
  })
})
