/**
 * A 293-byte Linux program for the image, which runs from the boot on and does for the agent what Node cannot and what
 * starting a program would take long for in an emulated guest: it sets the wall clock, and gives the kernel entropy and makes
 * it reseed at once. @pure
 * It exists because a clone's kernel holds its source's random state and time, this kernel has no vmgenid driver, writing to
 * /dev/urandom alone is used only at the next reseed (up to a minute later), and neither Node nor busybox can call ioctl.
 *
 * From standard input it takes records of 536 bytes, and answers each with one byte, 0 or an errno:
 *
 *   s64 seconds, s64 nanoseconds   the time since 1970 to set; seconds 0: leave the clock alone
 *   s32 bits, s32 bytes, u8[512]   struct rand_pool_info; bits 0: leave the generator alone
 *
 * Anything else ends it, with status 1. Source of the numbers: linux/include/uapi/linux/random.h and time.h.
 */
import { Buffer } from 'node:buffer'

const loadAddress = 0x400000n
const headersLength = 64 + 56

// x86-64, System V system calls; each line is what it says on the right.
const code = Buffer.from(
  [
    '4881ec20020000', //                     rsp -= 544: the record
    '488d3d92000000 be02000000', //          random = open(path, O_RDWR)
    'b802000000 0f05 89c3',
    '31ff 4889e6 ba18020000 31c0 0f05', // next: n = read(0, record, 536)
    '3d18020000 7563', //                    if (n != 536) goto leave
    '31ed', //                               failed = 0
    '48833c2400 740e', //                    if (record.seconds == 0) goto entropy
    '31ff 4889e6 b8e3000000 0f05 89c5', //   failed = clock_settime(CLOCK_REALTIME, record)
    '837c241000 7427', //                    entropy: if (record.bits == 0) goto answer
    '89df be03520840 488d542410', //         failed |= ioctl(random, RNDADDENTROPY, &record.bits)
    'b810000000 0f05 09c5',
    '89df be07520000 31d2', //               failed |= ioctl(random, RNDRESEEDCRNG, 0)
    'b810000000 0f05 09c5',
    'f7dd 892c24', //                        answer: record[0] = -failed
    'bf01000000 4889e6 ba01000000', //       n = write(1, record, 1)
    'b801000000 0f05',
    '83f801 7488', //                        if (n == 1) goto next
    'bf01000000 b83c000000 0f05', //         leave: exit(1)
    Buffer.from('/dev/urandom\0').toString('hex'), // path
  ]
    .join('')
    .replaceAll(' ', ''),
  'hex',
)

/** The program as an ELF file with one segment. */
export function menderProgram(): Buffer {
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
