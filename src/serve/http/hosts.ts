import { InputError } from '../../core/errors.ts'
import { addressesOf, isLoopback } from '../../core/hosts.ts'
import { ApiError } from './errors.ts'

interface ListenSecurity {
  readonly tls: boolean
  readonly keys: number
}

/**
 * The one address of `host` to listen on. Throws InputError where it can be reached from other machines and the API has
 * no TLS or no key: prompts would travel in the open, and anyone could ask.
 */
export async function safeAddress(host: string, where: string, protection: ListenSecurity): Promise<string> {
  const addresses = await addressesOf(host, where)
  const open = addresses.find((address) => !isLoopback(address))
  const missing = [
    ...(protection.tls ? [] : ['TLS']),
    ...(protection.keys > 0 ? [] : ['at least one API key']),
  ]
  if (open !== undefined && missing.length > 0) {
    throw new InputError({
      where,
      expected: `${missing.join(' and ')}, for other machines can reach it; or a loopback address`,
      found: open === host ? host : `${host}, which is ${open}`,
      remedy: 'give a certificate and API keys, or stay on this machine: 127.0.0.1',
    })
  }
  return addresses[0]
}

/**
 * Without keys, the browser of whoever sits at this machine could be led here by a page whose name resolves to loopback
 * (DNS rebinding): then a request must name this machine.
 */
export function checkHostHeader(header: string | undefined, listeningOn: string): void {
  const name = (header ?? '').replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1')
  if (name === 'localhost' || name === listeningOn || isLoopback(name)) return
  throw new ApiError({
    status: 403,
    type: 'permission_error',
    code: 'host_not_allowed',
    message: 'without API keys the Host header must name this machine: localhost or a loopback address',
  })
}
