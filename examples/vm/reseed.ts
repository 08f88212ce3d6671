/**
 * A 248-byte Linux program for the image: takes up to 512 bytes from standard input, gives them to the kernel's random
 * generator as entropy and makes it reseed at once. @pure
 * It exists because a clone's kernel holds its source's random state, this kernel has no vmgenid driver, writing to
 * /dev/urandom alone is used only at the next reseed (up to a minute later), and neither Node nor busybox can call ioctl.
 * Exit status: 0 reseeded, 1 not (no input, or no right). Source of the numbers: linux/include/uapi/linux/random.h.
 */
import { Buffer } from 'node:buffer'

const loadAddress = 0x400000n
const headersLength = 64 + 56

// x86-64, System V system calls; each line is what it says on the right.
const code = Buffer.from(
  [
    '31c0 4881ec10020000', //            rsp -= 528: struct rand_pool_info { int bits; int bytes; char data[512] }
    '31ff 488d742408 ba00020000 0f05', // n = read(0, info.data, 512)
    '85c0 7e4c', //                      if (n <= 0) goto fail
    '89442404 c1e003 890424', //         info.bytes = n; info.bits = n * 8
    'b802000000 488d3d42000000', //      fd = open(path,
    'be02000000 0f05', //                          O_RDWR)
    '85c0 782b 89c7', //                 if (fd < 0) goto fail
    'b810000000 be03520840 4889e2 0f05', // r = ioctl(fd, RNDADDENTROPY, &info)
    '85c0 7816', //                      if (r < 0) goto fail
    'b810000000 be07520000 31d2 0f05', // r = ioctl(fd, RNDRESEEDCRNG, 0)
    '85c0 7804', //                      if (r < 0) goto fail
    '31ff eb05', //                      status = 0; goto leave
    'bf01000000', //                     fail: status = 1
    'b83c000000 0f05', //                leave: exit(status)
    Buffer.from('/dev/urandom\0').toString('hex'), // path
  ]
    .join('')
    .replaceAll(' ', ''),
  'hex',
)

/** The program as an ELF file with one segment. */
export function reseedProgram(): Buffer {
  const header = Buffer.alloc(headersLength)
  const size = BigInt(headersLength + code.length)
  header.write('7f454c46020101', 'hex') // ELF, 64 bits, little endian, version 1
  header.writeUInt16LE(2, 16) // executable
  header.writeUInt16LE(62, 18) // x86-64
  header.writeUInt32LE(1, 20)
  header.writeBigUInt64LE(loadAddress + BigInt(headersLength), 24) // entry
  header.writeBigUInt64LE(64n, 32) // program headers follow
  header.writeUInt16LE(64, 52)
  header.writeUInt16LE(56, 54)
  header.writeUInt16LE(1, 56)
  header.writeUInt32LE(1, 64) // PT_LOAD
  header.writeUInt32LE(5, 68) // read, execute
  header.writeBigUInt64LE(loadAddress, 80)
  header.writeBigUInt64LE(loadAddress, 88)
  header.writeBigUInt64LE(size, 96)
  header.writeBigUInt64LE(size, 104)
  header.writeBigUInt64LE(0x1000n, 112)
  return Buffer.concat([header, code])
}
