#include "shard/service.h"

static bool submit(void *pool, struct hcs_task *task)
{
    return hcs_pool_submit(pool, task);
}

static size_t depth(const void *pool)
{
    return hcs_pool_depth(pool);
}

void hcs_service_set_pool(struct hcs_service *service, struct hcs_pool *pool)
{
    service->pool = pool;
    hcs_gate_set_queue(
        &service->gate, &(struct hcs_gate_queue){pool, submit, depth});
}
