#include "shard/spares.h"

#include <assert.h>
#include <fcntl.h>
#include <unistd.h>

static void keep(struct hcs_shard *shard, int fd)
{
    shard->spares[shard->spare_count++] = fd;
    hcs_counter_add(&shard->counts.own_fds, 1);
}

void hcs_spares_refill(struct hcs_shard *shard)
{
    int fd;

    if (shard->spare_count + shard->spares_lent >= HCS_SHARD_SPARES) {
        return;
    }
    fd = fcntl(shard->mailbox.fd, F_DUPFD_CLOEXEC, 0);
    if (fd >= 0) {
        keep(shard, fd);
    }
}

bool hcs_spares_free_one(struct hcs_shard *shard)
{
    if (shard->spare_count == 0) {
        return false;
    }
    close(shard->spares[--shard->spare_count]);
    hcs_counter_add(&shard->counts.own_fds, UINT64_MAX);
    return true;
}

void hcs_spares_lend(struct hcs_shard *shard)
{
    shard->spares_lent++;
}

void hcs_spares_take_back(struct hcs_shard *shard, int fd)
{
    assert(shard->spares_lent > 0);
    shard->spares_lent--;
    /* dup3 closes and opens in one step. Between two steps another loop that
     * shares the table could take the number. */
    if (dup3(shard->mailbox.fd, fd, O_CLOEXEC) == fd) {
        keep(shard, fd);
    } else {
        close(fd);
    }
}

void hcs_spares_close(struct hcs_shard *shard)
{
    while (hcs_spares_free_one(shard)) {
    }
}
